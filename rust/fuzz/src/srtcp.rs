//! SRTP and SRTCP: what was sealed is opened once, and not once it was changed or cut; whatever else comes is refused
//! and left as it was.
//!
//! Input: a byte that tells the suite, a byte that tells a place, a byte that tells the bits to change there, the
//! packet.

use voxwire_rtp::srtp::{EXPANSION_BYTES, MASTER_BYTES, MasterKey, Opener, Refused, Sealer, Suite};

/// The first header of a compound packet with its SSRC.
const LEAST_BYTES: usize = 8;

/// Seals the packet as a report and as audio, and opens it as it came.
pub fn target(data: &[u8]) {
    let Some(([suite, place, bits], packet)) = data.split_first_chunk() else {
        return;
    };
    let suite = Suite::ALL[usize::from(suite % 2)];
    let master = MasterKey::new(&[*place; MASTER_BYTES]).expect("30 bytes");
    let change = (usize::from(*place), *bits);
    report(suite, &master, packet, change);
    audio(suite, &master, packet, change);
    strange(&mut Opener::new(suite, &master), packet);
}

fn report(suite: Suite, master: &MasterKey, packet: &[u8], (place, bits): (usize, u8)) {
    let mut opener = Opener::new(suite, master);
    let mut sealer = Sealer::new(suite, master);
    for index in 0..3 {
        let mut room = [packet, &[0; EXPANSION_BYTES]].concat();
        let Ok(length) = sealer.seal_rtcp(&mut room, packet.len()) else {
            return assert!(packet.len() < LEAST_BYTES, "not sealed");
        };
        assert_eq!(length, packet.len() + EXPANSION_BYTES);
        assert_eq!(room[..LEAST_BYTES], packet[..LEAST_BYTES]);
        let place = place % length;
        if bits != 0 {
            let mut changed = room.clone();
            changed[place] ^= bits;
            let before = changed.clone();
            assert!(opener.open_rtcp(&mut changed).is_err(), "changed, and opened");
            assert_eq!(changed, before, "refused, and decrypted");
        }
        assert!(
            opener.open_rtcp(&mut room[..place].to_vec()).is_err(),
            "cut, and opened"
        );
        assert_eq!(opener.open_rtcp(&mut room.clone()), Ok(packet), "report {index}");
        assert_eq!(opener.open_rtcp(&mut room), Err(Refused::Replayed), "report {index}");
    }
}

fn audio(suite: Suite, master: &MasterKey, packet: &[u8], (place, bits): (usize, u8)) {
    let opener = Opener::new(suite, master);
    let mut room = [packet, &[0; EXPANSION_BYTES]].concat();
    let Ok(length) = Sealer::new(suite, master).seal_rtp(&mut room, packet.len()) else {
        return assert!(!opener.verify_rtp(&room), "no packet, and believed");
    };
    room.truncate(length);
    assert_eq!(length, packet.len() + suite.tag_bytes());
    assert!(opener.verify_rtp(&room), "sealed, and not believed");
    // The keystream is the same once more, which takes it off.
    let mut again = room.clone();
    again.truncate(packet.len());
    again.resize(length, 0);
    Sealer::new(suite, master)
        .seal_rtp(&mut again, packet.len())
        .expect("it was a packet before");
    assert_eq!(again[..packet.len()], *packet);
    let place = place % length;
    room[place] ^= bits;
    assert!(bits == 0 || !opener.verify_rtp(&room), "changed, and believed");
    room.truncate(place);
    assert!(!opener.verify_rtp(&room), "cut, and believed");
}

fn strange(opener: &mut Opener, packet: &[u8]) {
    let mut datagram = packet.to_vec();
    if opener.open_rtcp(&mut datagram).is_err() {
        assert_eq!(datagram, packet, "refused, and decrypted");
    }
    opener.verify_rtp(packet);
}
