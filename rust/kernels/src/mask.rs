//! The masking of WebSocket payloads (RFC 6455 section 5.3).

/// Applies a mask to `data` in place; applied twice it restores the data.
///
/// `offset` is the number of payload bytes of the same frame that came before `data`, so that a payload may
/// be unmasked piece by piece.
pub fn apply(data: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    // Sixteen bytes at a time is a multiple of the key's length, so every chunk begins with its first byte.
    let wide = u128::from_ne_bytes(std::array::from_fn(|index| key[index % 4]));
    let (chunks, rest) = data.as_chunks_mut::<16>();
    for chunk in chunks {
        *chunk = (u128::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= mask;
    }
}
