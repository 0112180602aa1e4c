//! How a stream is cut into reads, told by one byte of the input.

/// Cuts `data`: byte by byte for 0, once at a place for odd numbers, else into pieces of mixed size. Some are empty.
pub(crate) fn pieces(data: &[u8], seed: u8) -> Vec<&[u8]> {
    if seed == 0 {
        return data.chunks(1).collect();
    }
    if seed % 2 == 1 {
        // Near the start every place is reached, where heads are; further on the scale stretches.
        let place = usize::from(seed / 2);
        let place = if place < 64 {
            place
        } else {
            data.len() * (place - 64) / 64
        };
        let (front, back) = data.split_at(place.min(data.len()));
        return vec![front, back];
    }
    let longest = if seed < 128 { 8 } else { 200 };
    let mut state = u32::from(seed);
    let mut rest = data;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = (state >> 16) as usize % longest;
        let (piece, later) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = later;
    }
    pieces
}
