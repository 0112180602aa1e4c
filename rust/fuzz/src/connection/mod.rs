//! Whole connections: an end that is fed anything, cut anywhere, while its user commands and the clock runs; and two
//! ends that talk with each other over a wire that cuts.
//!
//! Input: a byte that tells what is played, then a script, see `script`. Whatever the script, no command panics, every
//! context that was opened ends at most once and tells nothing afterwards, nothing comes after `Closed`, and what is
//! sent is within a bound of what came and can be read by the other end.

mod commands;
mod hostile;
mod ledger;
mod pair;
mod script;
mod wire;

use voxwire_core::frame::Role;

use script::Script;

/// Plays a script.
pub fn target(data: &[u8]) {
    let Some((&play, script)) = data.split_first() else {
        return;
    };
    let script = Script::new(script);
    match play % 5 {
        0 => hostile::play(Role::Client, true, script),
        1 => hostile::play(Role::Server, true, script),
        2 => hostile::play(Role::Client, false, script),
        3 => hostile::play(Role::Server, false, script),
        _ => pair::play(script),
    }
}
