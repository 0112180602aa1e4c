//! The HTTP upgrade: heads are taken or refused the same however they are cut, and what is taken means what it says.

pub mod request;
pub mod response;

use voxwire_core::handshake::{HEAD_BYTES, HEAD_HEADERS, HEAD_LINE_BYTES};

/// A head taken apart by a plain split of lines.
pub(crate) struct PlainHead<'a> {
    pub(crate) first_line: &'a str,
    pub(crate) headers: Vec<(String, String)>,
    /// Bytes of the head, with the empty line.
    pub(crate) len: usize,
}

impl<'a> PlainHead<'a> {
    /// Takes apart a head that was accepted; what no accepted head may have panics.
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        let end = find(bytes, b"\r\n\r\n").expect("an accepted head ends with an empty line");
        let len = end + 4;
        assert!(len <= HEAD_BYTES, "a head of {len} bytes was taken");
        let mut lines = Vec::new();
        let mut rest = &bytes[..end + 2];
        while let Some(end) = find(rest, b"\r\n") {
            assert!(end <= HEAD_LINE_BYTES, "a line of {end} bytes was taken");
            assert!(
                !rest[..end].contains(&b'\n') && !rest[..end].contains(&0),
                "a line with a line feed or NUL was taken"
            );
            lines.push(&rest[..end]);
            rest = &rest[end + 2..];
        }
        let (first_line, fields) = lines.split_first().expect("there is an end of a line");
        assert!(fields.len() <= HEAD_HEADERS, "{} headers were taken", fields.len());
        let headers = fields
            .iter()
            .map(|line| {
                let colon = find(line, b":").expect("an accepted header has a colon");
                assert!(
                    colon > 0 && line[..colon].iter().all(u8::is_ascii_graphic),
                    "a header with blanks in its name was taken"
                );
                let value: String = line[colon + 1..].iter().copied().map(char::from).collect();
                let name: String = line[..colon].iter().copied().map(char::from).collect();
                (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
            })
            .collect();
        // A status line may hold anything behind the status; a request line is ASCII.
        let first_line = first_line
            .split(|byte| !byte.is_ascii())
            .next()
            .and_then(|line| std::str::from_utf8(line).ok())
            .unwrap_or_default();
        Self {
            first_line,
            headers,
            len,
        }
    }

    /// The values of a header, with lists taken apart.
    pub(crate) fn tokens(&self, name: &str) -> Vec<String> {
        self.values(name)
            .iter()
            .flat_map(|value| value.split(','))
            .map(|token| token.trim_matches([' ', '\t']).to_ascii_lowercase())
            .filter(|token| !token.is_empty())
            .collect()
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// What two readers of the head could understand differently: two lengths of a body.
    pub(crate) fn assert_one_length(&self) {
        let (lengths, codings) = (self.values("content-length"), self.values("transfer-encoding"));
        assert!(lengths.len() <= 1, "two lengths were taken");
        assert!(
            lengths.is_empty() || codings.is_empty(),
            "a length beside a coding was taken"
        );
        assert!(
            lengths
                .iter()
                .all(|length| length.parse::<u64>().is_ok() && !length.starts_with('+')),
            "a length that is no number was taken"
        );
    }
}

pub(crate) fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

/// The parts of the input that become arguments: lines of UTF-8, the text up to the first byte that is none.
pub(crate) fn lines(data: &[u8]) -> impl Iterator<Item = &str> {
    let text = match std::str::from_utf8(data) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&data[..error.valid_up_to()]).unwrap_or_default(),
    };
    text.split('\u{1}')
}

/// Names and values of headers out of the parts that are left.
pub(crate) fn pairs<'a>(mut parts: impl Iterator<Item = &'a str>) -> Vec<(&'a str, &'a str)> {
    let mut pairs = Vec::new();
    while let Some(name) = parts.next() {
        pairs.push((name, parts.next().unwrap_or_default()));
    }
    pairs
}

/// Headers as the other end reads them.
pub(crate) fn as_read(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        .collect()
}
