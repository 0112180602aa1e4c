//! What an open session costs in memory, counted as growth of this process, the C allocations of the cipher included.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may stop at the first wrong step")]

mod common;

use common::{Pair, pattern, settings};
use rustls::version::TLS13;

const SESSIONS: usize = 500;
/// 48 KiB is what an idle connection may cost with TLS, 16 KiB of them without (performance.md 1, figure 6).
const BYTES_PER_SESSION: usize = 32 * 1024;

fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE_BYTES
}

#[test]
fn an_idle_session_is_small_after_a_burst() {
    let (config, server) = settings(&[&TLS13], |_| {});
    let burst = pattern(1 << 18);
    let session = || {
        let mut pair = Pair::established(&config, &server);
        pair.hear().unwrap();
        pair.say(&burst);
        pair.hear().unwrap();
        pair.client.tls.send(&burst, &mut pair.client.outgoing).unwrap();
        assert_eq!(pair.client.plain, burst);
        assert_eq!(pair.heard(), burst);
        // The server and the buffers around the session go; the session stays.
        pair.client.tls
    };
    // What the first ones leave is shared by all: tables, tickets, what the allocator keeps.
    let first: Vec<_> = (0..20).map(|_| session()).collect();
    let before = resident_bytes();
    let sessions: Vec<_> = (0..SESSIONS).map(|_| session()).collect();
    let each = resident_bytes().saturating_sub(before) / SESSIONS;
    assert!(
        first
            .iter()
            .chain(&sessions)
            .all(voxwire_link::tls::Tls::is_established)
    );
    assert!(each < BYTES_PER_SESSION, "{each} bytes for each idle session");
}
