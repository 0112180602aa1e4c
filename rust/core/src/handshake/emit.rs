//! What we write into a head, and the refusal of anything that would break out of it.

use crate::error::{Error, ErrorKind};

/// Appends header lines of the caller.
///
/// Errors, all local: `ForbiddenCharacter` for a name that is no token or a value with anything but printable ASCII and
/// tabs; `ReservedHeader` for a name in `reserved` (in lower case), which the handshake writes itself.
pub(super) fn headers(out: &mut Vec<u8>, headers: &[(&str, &str)], reserved: &[&str]) -> Result<(), Error> {
    for (name, value) in headers {
        check("header name", name, is_token_byte)?;
        if name.is_empty() {
            return Err(Error::local(ErrorKind::ForbiddenCharacter("header name"), 0));
        }
        check("header value", value, |byte| matches!(byte, b'\t' | 0x20..=0x7E))?;
        if reserved.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(Error::local(ErrorKind::ReservedHeader, 0));
        }
        line(out, name, value);
    }
    Ok(())
}

/// Appends a header line of our own.
pub(super) fn line(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Checks every byte of a part of the head. Errors: local `ForbiddenCharacter` that names the part.
pub(super) fn check(part: &'static str, text: &str, is_allowed: impl Fn(u8) -> bool) -> Result<(), Error> {
    match text.bytes().position(|byte| !is_allowed(byte)) {
        Some(index) => Err(Error::local(ErrorKind::ForbiddenCharacter(part), index as u64)),
        None => Ok(()),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
