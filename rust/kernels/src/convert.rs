//! Appending converted samples to a byte vector without writing its memory twice.

use std::mem::MaybeUninit;

/// Appends `WIDTH` bytes for each item.
///
/// # Panics
///
/// If the output would not fit the address space.
///
/// `Vec::resize` would fill with zeros what is overwritten at once, and extending by a flattening iterator
/// checks the capacity for each item; this is one plain loop, which vectorises where `convert` does.
#[inline]
pub fn append<Item: Copy, const WIDTH: usize>(
    out: &mut Vec<u8>,
    items: &[Item],
    convert: impl Fn(Item) -> [u8; WIDTH],
) {
    let size_bytes = items
        .len()
        .checked_mul(WIDTH)
        .expect("the output fits the address space");
    out.reserve(size_bytes);
    let (slots, _) = out.spare_capacity_mut()[..size_bytes].as_chunks_mut::<WIDTH>();
    for (slot, &item) in slots.iter_mut().zip(items) {
        *slot = convert(item).map(MaybeUninit::new);
    }
    // SAFETY: the spare capacity holds at least `size_bytes`, which is `items.len()` whole slots, and the
    // loop has initialised every one of them.
    unsafe { out.set_len(out.len() + size_bytes) };
}
