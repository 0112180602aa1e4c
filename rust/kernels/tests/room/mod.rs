//! Room for inputs and outputs anywhere within a block of memory, outputs between canaries.

use std::mem::MaybeUninit;

use voxwire_kernels::convert::{Coding, Path, convert_with, converted_len};

/// What lies around an output, to be found unchanged.
const CANARY: u8 = 0xa5;
const CANARY_BYTES: usize = 64;
/// Places are counted from an address that this divides.
const BLOCK_BYTES: usize = 64;

/// The paths of this processor.
pub(crate) fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.is_available())
}

/// Converts by one path, from and to so many bytes behind the beginning of a block of memory.
pub(crate) fn converted(
    path: Path,
    data: &[u8],
    source: Coding,
    target: Coding,
    place_in: usize,
    place_out: usize,
) -> Vec<u8> {
    let mut input = vec![0; BLOCK_BYTES + place_in + data.len()];
    let begin = input.as_ptr().align_offset(BLOCK_BYTES) + place_in;
    let input = &mut input[begin..][..data.len()];
    input.copy_from_slice(data);

    let size_bytes = converted_len(data.len(), source, target);
    let mut output = vec![MaybeUninit::new(CANARY); BLOCK_BYTES + place_out + size_bytes + 2 * CANARY_BYTES];
    let begin = output.as_ptr().align_offset(BLOCK_BYTES) + place_out + CANARY_BYTES;
    convert_with(path, input, source, target, &mut output[begin..][..size_bytes]);
    let mut output: Vec<u8> = output
        .iter()
        .map(|byte| {
            // SAFETY: the whole buffer was filled with initialised bytes; a conversion only writes such.
            unsafe { byte.assume_init() }
        })
        .collect();
    let out = output.drain(begin..begin + size_bytes).collect();
    assert!(
        output.iter().all(|&byte| byte == CANARY),
        "{path:?} wrote outside of its output"
    );
    out
}
