//! Values as they stand in the text: their grammar is proven, nothing is converted.

use std::borrow::Cow;

use super::text::unescape;
use super::{Error, ErrorKind, Value};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    True,
    False,
    Integer,
    Float,
    /// A string that means what it says.
    Plain,
    /// A string with escapes.
    Escaped,
    /// An object or array that was stepped over.
    Compound,
}

/// A value and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    /// Where `raw` begins, in bytes from the start of the text.
    pub(crate) index: usize,
    /// A number as written, or what stands between the quotes of a string.
    pub(crate) raw: &'a [u8],
}

impl<'a> Token<'a> {
    /// The bytes that a string means; a copy only where something is escaped.
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        if self.kind == Kind::Escaped {
            Cow::Owned(unescape(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// The characters that a string means.
    pub(crate) fn text(self) -> Result<Cow<'a, str>, Error> {
        let utf8 = |_| Error::new(ErrorKind::Utf8, self.index);
        if self.kind == Kind::Escaped {
            String::from_utf8(unescape(self.raw))
                .map(Cow::Owned)
                .map_err(|error| utf8(error.utf8_error()))
        } else {
            std::str::from_utf8(self.raw).map(Cow::Borrowed).map_err(utf8)
        }
    }

    /// The value of what is no object and no array.
    pub(super) fn value(self) -> Result<Value, Error> {
        Ok(match self.kind {
            Kind::Null | Kind::Compound => Value::Null,
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            Kind::Integer => self.digits().parse().map_or(Value::OutOfRange, Value::Int),
            Kind::Float => self.float().map_or(Value::OutOfRange, Value::Float),
            Kind::Plain | Kind::Escaped => Value::String(self.text()?.into_owned()),
        })
    }

    /// The integer that a number is, also where it is written as a float (`1.0`, `1e3`).
    pub(crate) fn unsigned(self) -> Option<u64> {
        match self.kind {
            Kind::Integer => self.digits().parse().ok().or_else(|| (self.raw == b"-0").then_some(0)),
            #[expect(
                clippy::cast_sign_loss,
                reason = "the range is checked, and below 2^53 every integer is exact"
            )]
            Kind::Float => {
                let float = self.float()?;
                (float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&float)).then_some(float as u64)
            }
            _ => None,
        }
    }

    fn digits(self) -> &'a str {
        std::str::from_utf8(self.raw).unwrap_or_default()
    }

    fn float(self) -> Option<f64> {
        self.digits().parse().ok().filter(|float: &f64| float.is_finite())
    }
}
