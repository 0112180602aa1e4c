//! The life of a context, on both sides: the state tables of protocol.md 6.2 and 6.5 as data.
//!
//! The tables are the specification: [`CLIENT_TABLE`] and [`SERVER_TABLE`] say for each event and state what is to be
//! done and which state follows. Everything that moves a state is in this module, and nothing else is: the caller
//! carries out the actions. Time is an argument, in seconds of any monotonic clock.

mod client;
mod server;

use unicode_general_category::{GeneralCategory, get_general_category};

pub use client::{
    BUFFER_DELAY_MS, CLIENT_TABLE, ClientAction, ClientContext, ClientEvent, ClientInput, ClientState, ClientVerdict,
    Received, TOMBSTONE_S,
};
pub use server::{
    FAILED_S, REMEMBERED_CONTEXTS, REMEMBERED_S, SERVER_TABLE, ServerAction, ServerContexts, ServerEvent, ServerInput,
    ServerRow, ServerState,
};

/// Whether a transcript holds at least one letter, mark or digit (Unicode classes L, M and N); tags count as text
/// (protocol.md 6.1).
pub fn is_speakable(transcript: &str) -> bool {
    transcript.chars().any(|character| {
        if character.is_ascii() {
            return character.is_ascii_alphanumeric();
        }
        matches!(
            get_general_category(character),
            GeneralCategory::UppercaseLetter
                | GeneralCategory::LowercaseLetter
                | GeneralCategory::TitlecaseLetter
                | GeneralCategory::ModifierLetter
                | GeneralCategory::OtherLetter
                | GeneralCategory::NonspacingMark
                | GeneralCategory::SpacingMark
                | GeneralCategory::EnclosingMark
                | GeneralCategory::DecimalNumber
                | GeneralCategory::LetterNumber
                | GeneralCategory::OtherNumber
        )
    })
}
