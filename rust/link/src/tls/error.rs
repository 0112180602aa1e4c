//! Why a session of TLS ended.

use std::fmt::{self, Display, Formatter};

use rustls::{CertificateError, Error, InvalidMessage};

/// A peer may name itself at length; an error message is one line.
const MAX_REASON_CHARS: usize = 200;

/// Why a session ended. The text is the reason alone; no secret and nothing that was carried is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The server's certificate: another attempt will fail as well.
    Untrusted(String),
    /// Anything else.
    Failed(String),
}

impl TlsError {
    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }
}

impl Display for TlsError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let (Self::Untrusted(reason) | Self::Failed(reason)) = self;
        formatter.write_str(reason)
    }
}

impl std::error::Error for TlsError {}

impl From<&Error> for TlsError {
    fn from(error: &Error) -> Self {
        let reason = match error {
            Error::InvalidCertificate(error) => return Self::Untrusted(short(&untrusted(error))),
            Error::NoCertificatesPresented => return Self::Untrusted("the server presents none".into()),
            Error::AlertReceived(alert) => format!("the server sent the alert {}", words(alert)),
            Error::DecryptError => "a record cannot be decrypted".into(),
            Error::PeerSentOversizedRecord => "a record is longer than TLS allows".into(),
            Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
                "the server sent something else than TLS".into()
            }
            Error::InvalidMessage(error) => format!("a message is malformed: {}", words(error)),
            Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
                "a message came at the wrong moment".into()
            }
            Error::PeerIncompatible(why) => format!("the server and this side have nothing in common: {}", words(why)),
            Error::PeerMisbehaved(why) => format!("the server broke the rules: {}", words(why)),
            error => error.to_string(),
        };
        Self::Failed(short(&reason))
    }
}

fn untrusted(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".into(),
        CertificateError::UnknownIssuer => "it was issued by an unknown authority, or by itself".into(),
        CertificateError::NotValidForName => "it is for another host".into(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // The names are the server's own words: escaped, and cut with the rest.
            format!(
                "it is not for {}, only for {}",
                expected.to_str(),
                presented.join(", ").escape_debug()
            )
        }
        CertificateError::Revoked => "it was revoked".into(),
        CertificateError::BadEncoding => "it is malformed".into(),
        CertificateError::BadSignature => "a signature is wrong".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it was not issued for servers".into()
        }
        CertificateError::Other(error) => words(&error.0),
        error => error.to_string().to_lowercase(),
    }
}

/// Turns the name of a variant into words: `HandshakeFailure` into `handshake failure`.
fn words(variant: &impl fmt::Debug) -> String {
    let mut words = String::new();
    for character in format!("{variant:?}").chars() {
        if character.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(character.to_ascii_lowercase());
    }
    words
}

fn short(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).collect()
}
