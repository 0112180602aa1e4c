//! `voxwire_rtp._native`: RTP streams as sinks, sent by one thread for all streams of the process. Python translates
//! them into the contract's own types.

#[cfg(feature = "python")]
mod binding;
pub mod clock;
mod composer;
pub mod digits;
mod entry;
#[cfg(feature = "python")]
mod figures;
pub mod listener;
pub mod opening;
mod outbox;
mod pacer;
pub mod packet;
mod process;
pub mod random;
pub mod registry;
mod reports;
pub mod rtcp;
pub mod sender;
pub mod settings;
pub mod slot;
pub mod sockets;
pub mod srtp;
pub mod statistics;
pub mod stream;
pub mod system;
pub mod wheel;

pub(crate) const NS_PER_S: u64 = 1_000_000_000;
