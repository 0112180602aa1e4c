//! Masks of WebSocket payloads.

use proptest::prelude::*;
use voxwire_kernels::mask;

#[test]
fn the_example_of_rfc_6455_section_5_7_is_masked() {
    let mut payload = *b"Hello";
    mask::apply(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
    assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
}

proptest! {
    #[test]
    fn any_cut_masks_as_the_definition_says(
        data in prop::collection::vec(any::<u8>(), 0..300),
        key in any::<[u8; 4]>(),
        cut in any::<prop::sample::Index>(),
        offset in 0_usize..9,
    ) {
        let expected: Vec<u8> =
            data.iter().enumerate().map(|(index, byte)| byte ^ key[(offset + index) % 4]).collect();
        let cut = cut.index(data.len() + 1);
        let mut masked = data;
        mask::apply(&mut masked[..cut], key, offset);
        mask::apply(&mut masked[cut..], key, offset + cut);
        prop_assert_eq!(masked, expected);
    }
}
