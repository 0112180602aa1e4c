//! What the benches in Rust share. Each bench checks its answer before it counts the time.

pub mod host;
pub mod process;
pub mod stream;

/// 160 B = 20 ms of mu-law at 8 kHz; the others are 40, 200 and 800 ms of s16 at 24 kHz.
pub const SIZES: [usize; 4] = [160, 1920, 9600, 38400];
/// So many different chunks take turns, so that neither caches nor branch predictors see one string.
pub const ROTATION: u64 = 16;
/// Of the one context of every stream.
pub const CONTEXT_ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// Returns `size` bytes of s16 PCM: two sines plus Gaussian noise.
pub fn pcm(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let samples = (0..size.div_ceil(2)).flat_map(|index| {
        let time = index as f64;
        // The sum of twelve uniform numbers is nearly normal, with variance 1 around 6.
        let noise = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        let sines = 6000.0 * (0.051 * time + seed as f64).sin() + 3000.0 * (0.173 * time).sin();
        ((sines + 300.0 * noise).round() as i16).to_le_bytes()
    });
    samples.take(size).collect()
}

/// Returns a rotation of `chunk` frames and the PCM that each carries.
pub fn chunks(size: usize, text_of: impl Fn(&[u8]) -> String) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let source: Vec<Vec<u8>> = (0..ROTATION).map(|seed| pcm(size, seed)).collect();
    let frames = source
        .iter()
        .map(|data| {
            let text = text_of(data);
            frame(
                format!(
                    r#"{{"type":"chunk","data":"{text}","done":false,"status_code":206,"step_time":123,"context_id":"{CONTEXT_ID}"}}"#
                )
                .as_bytes(),
            )
        })
        .collect();
    (frames, source)
}

/// Returns one whole unmasked text frame (RFC 6455 section 5.2).
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![0x81];
    match payload.len() {
        length @ 0..126 => wire.push(length as u8),
        length @ 126..65536 => {
            wire.push(126);
            wire.extend((length as u16).to_be_bytes());
        }
        length => {
            wire.push(127);
            wire.extend((length as u64).to_be_bytes());
        }
    }
    wire.extend(payload);
    wire
}
