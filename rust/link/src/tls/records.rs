//! The outside of TLS records (RFC 8446 section 5.1), which stays readable whatever is inside.

/// Content type, version, length.
pub(super) const HEADER_BYTES: usize = 5;

/// Returns where the last complete record of `stream` ends; `stream` begins with a header.
pub(super) fn end_of_complete(stream: &[u8]) -> usize {
    let mut end = 0;
    while let Some(header) = stream[end..].first_chunk::<HEADER_BYTES>() {
        let next = end + HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
        if next > stream.len() {
            break;
        }
        end = next;
    }
    end
}

/// Whether a server may have sent these before its hello is read: the hello, an alert, or between two hellos the
/// `change_cipher_spec` that middleboxes want (RFC 8446 appendix D.4).
pub(super) fn may_open_a_session(stream: &[u8]) -> bool {
    const CHANGE_CIPHER_SPEC: u8 = 20;
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    // Every version in use says 3 here, whatever follows.
    const MAJOR_VERSION: u8 = 3;
    stream
        .first()
        .is_none_or(|kind| [CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE].contains(kind))
        && stream.get(1).is_none_or(|&major| major == MAJOR_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_records_are_counted_whole() {
        let stream = [22, 3, 3, 0, 2, 7, 7, 23, 3, 3, 0, 0, 23, 3, 3, 1, 0, 9];
        for cut in 0..=stream.len() {
            let expected = match cut {
                0..7 => 0,
                7..12 => 7,
                _ => 12,
            };
            assert_eq!(end_of_complete(&stream[..cut]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn only_tls_opens_a_session() {
        for stream in [&b""[..], b"\x16", b"\x16\x03", b"\x15\x03\x01\0\x02"] {
            assert!(may_open_a_session(stream), "{stream:?}");
        }
        for stream in [&b"H"[..], b"HTTP/1.1 400", b"\x16\x01", b"\x17\x03\x03"] {
            assert!(!may_open_a_session(stream), "{stream:?}");
        }
    }
}
