//! The connection, both ends: bytes in, events and bytes out.

mod client;
mod closing;
mod contexts;
mod delivery;
mod joining;
mod learned;
mod server;
mod split;
mod support;
