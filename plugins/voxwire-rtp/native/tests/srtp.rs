//! SRTP and SRTCP against the vectors of RFC 3711, a sample of another implementation, and an attacker.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use voxwire_rtp::srtp::{EXPANSION_BYTES, MASTER_BYTES, MasterKey, Opener, Refused, SealError, Sealer, Suite};

const SSRC: u32 = 0xcafe_babe;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|digit| (digit as char).to_digit(16).expect("a digit") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The one of RFC 3711, appendix B.3.
fn master() -> MasterKey {
    MasterKey::new(&hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6")).expect("30 bytes")
}

fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = hex("8000 0000 decafbad");
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = hex("80c80006");
    packet.extend(ssrc.to_be_bytes());
    packet.extend(hex("b44db705 20000000 01020304 00000032 00001f40"));
    packet
}

fn protect_rtp(sealer: &mut Sealer, packet: &[u8]) -> Vec<u8> {
    let mut room = [packet, &[0xa5; EXPANSION_BYTES]].concat();
    let length = sealer.seal_rtp(&mut room, packet.len()).expect("a good packet");
    assert!(
        room[length..].iter().all(|&byte| byte == 0xa5),
        "written behind the end"
    );
    room.truncate(length);
    room
}

fn protect_rtcp(sealer: &mut Sealer, packet: &[u8]) -> Vec<u8> {
    let mut room = [packet, &[0xa5; EXPANSION_BYTES]].concat();
    let length = sealer.seal_rtcp(&mut room, packet.len()).expect("a good packet");
    room.truncate(length);
    room
}

#[test]
fn the_keystream_is_that_of_appendix_b_2() {
    // With a label of 0 the derivation is the keystream from the salt on.
    let master =
        MasterKey::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C F0F1F2F3F4F5F6F7F8F9FAFBFCFD")).expect("30 bytes");
    let mut keystream = vec![0xa5; 1_044_512];
    master.derive(0, &mut keystream);
    let (first, last) = (&keystream[..48], &keystream[1_044_512 - 48..]);
    assert_eq!(
        first,
        hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0")
    );
    assert_eq!(
        last,
        hex("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44")
    );
}

#[test]
fn session_keys_are_those_of_appendix_b_3() {
    let derived = |label, bytes| {
        let mut key = vec![0; bytes];
        master().derive(label, &mut key);
        key
    };
    assert_eq!(derived(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derived(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(
        derived(1, 94),
        hex(
            "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098
             6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2"
        )
    );
}

#[test]
fn packets_are_those_of_libsrtp() {
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &master());
    let plain = hex("800f1234 decafbad cafebabe abababab abababab abababab abababab");
    assert_eq!(
        protect_rtp(&mut sealer, &plain),
        hex("800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc99ea179b8dbb")
    );
    // Its sample carries the index 1.
    let plain = hex("81c8000b cafebabe abababab abababab abababab abababab");
    protect_rtcp(&mut sealer, &plain);
    assert_eq!(
        protect_rtcp(&mut sealer, &plain),
        hex("81c8000b cafebabe 7128035b e487b9bd bef89041 f977a5a8 80000001 993e08cd54d6c1230798")
    );
}

#[test]
fn suites_have_the_names_and_tags_of_rfc_4568() {
    for (suite, name, tag_bytes) in [
        (Suite::AesCm128HmacSha1_80, "AES_CM_128_HMAC_SHA1_80", 10),
        (Suite::AesCm128HmacSha1_32, "AES_CM_128_HMAC_SHA1_32", 4),
    ] {
        assert_eq!(Suite::from_name(name), Some(suite));
        assert_eq!((suite.name(), suite.tag_bytes()), (name, tag_bytes));
        let mut sealer = Sealer::new(suite, &master());
        let packet = rtp(SSRC, 1, &[0xff; 160]);
        assert_eq!(protect_rtp(&mut sealer, &packet).len(), 172 + tag_bytes);
        // Of reports the tag is never short.
        assert_eq!(protect_rtcp(&mut sealer, &rtcp(SSRC)).len(), 28 + 4 + 10);
    }
    assert_eq!(Suite::from_name("AEAD_AES_128_GCM"), None);
    assert_eq!(Suite::from_name("aes_cm_128_hmac_sha1_80"), None);
}

#[test]
fn a_short_tag_is_the_beginning_of_the_long_one() {
    let [long, short] =
        Suite::ALL.map(|suite| protect_rtp(&mut Sealer::new(suite, &master()), &rtp(SSRC, 7, &[1; 20])));
    assert_eq!(short, long[..long.len() - 6]);
}

/// The keystream of a packet, made without the code that finds where it starts: a derivation from a key and a salt that
/// already hold SSRC and index.
fn keystream(labels: [u8; 2], ssrc: u32, index: u64, bytes: usize) -> Vec<u8> {
    let mut session = [0; MASTER_BYTES];
    let (key, start) = session.split_at_mut(16);
    master().derive(labels[0], key);
    master().derive(labels[1], start);
    for (place, byte) in (4..).zip(ssrc.to_be_bytes().into_iter().chain(index.to_be_bytes()[2..].to_vec())) {
        start[place] ^= byte;
    }
    let mut stream = vec![0; bytes];
    MasterKey::new(&session).expect("30 bytes").derive(0, &mut stream);
    stream
}

#[test]
fn the_rollover_counts_rounds_of_sequence_numbers() {
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &master());
    let opener = Opener::new(Suite::AesCm128HmacSha1_80, &master());
    // Twice across the end of a round, and most of a round left out.
    for index in (65_000..66_000).chain(130_500..131_500) {
        let packet = protect_rtp(&mut sealer, &rtp(SSRC, index as u16, &[0; 4]));
        assert_eq!(packet[12..16], keystream([0, 2], SSRC, index, 4), "packet {index}");
        assert_eq!(opener.verify_rtp(&packet), index < 2 * 65_536, "packet {index}");
    }
}

#[test]
fn another_ssrc_is_another_stream() {
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &master());
    protect_rtp(&mut sealer, &rtp(SSRC, 65_535, &[0; 4]));
    protect_rtp(&mut sealer, &rtp(SSRC, 0, &[0; 4]));
    // After a collision the sequence may go on or not: the first packet is in the first round.
    for sequence in [9, 10] {
        let packet = protect_rtp(&mut sealer, &rtp(!SSRC, sequence, &[0; 4]));
        assert_eq!(packet[12..16], keystream([0, 2], !SSRC, u64::from(sequence), 4));
    }
}

#[test]
fn what_stands_before_the_payload_stays_readable() {
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &master());
    // Two contributing sources and an extension of one word.
    let head = hex("92000001 00000000 cafebabe 00000001 00000002 bede0001 10aa0000");
    let packet = protect_rtp(&mut sealer, &[head.as_slice(), &[0; 8]].concat());
    assert_eq!(packet[..28], head);
    assert_eq!(packet[28..36], keystream([0, 2], SSRC, 1, 8));
}

#[test]
fn what_is_no_packet_is_not_sealed() {
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &master());
    let mut room = [0; 64];
    for packet in [
        "",
        "80000000 00000000 0000",
        "40000000 00000000 00000000 00000000",
        "81000000 00000000 00000000",
        "90000000 00000000 00000000 00000001",
    ] {
        let packet = hex(packet);
        room[..packet.len()].copy_from_slice(&packet);
        assert_eq!(sealer.seal_rtp(&mut room, packet.len()), Err(SealError::Cut));
    }
    assert_eq!(sealer.seal_rtcp(&mut room, 7), Err(SealError::Cut));
    assert_eq!(sealer.seal_rtp(&mut room, 55), Err(SealError::NoRoom));
    assert_eq!(sealer.seal_rtcp(&mut room, 51), Err(SealError::NoRoom));
}

#[test]
fn reports_are_numbered_from_zero_and_opened_by_the_peer() {
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_32, &master());
    let mut opener = Opener::new(Suite::AesCm128HmacSha1_32, &master());
    let plain = rtcp(SSRC);
    for index in 0..200_u32 {
        let mut protected = protect_rtcp(&mut sealer, &plain);
        assert_eq!(protected[28..32], (1 << 31 | index).to_be_bytes());
        let stream = keystream([3, 5], SSRC, u64::from(index), 20);
        let encrypted: Vec<u8> = plain[8..].iter().zip(stream).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(protected[8..28], encrypted);
        assert_eq!(opener.open_rtcp(&mut protected), Ok(plain.as_slice()));
    }
}

#[test]
fn a_report_that_was_here_is_refused() {
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &master());
    let mut opener = Opener::new(Suite::AesCm128HmacSha1_80, &master());
    let protected: Vec<_> = (0..200).map(|_| protect_rtcp(&mut sealer, &rtcp(SSRC))).collect();
    let mut open = |index: usize| opener.open_rtcp(&mut protected[index].clone()).map(drop);
    for index in [5, 0, 4, 68, 66] {
        assert_eq!(open(index), Ok(()), "{index}");
        assert_eq!(open(index), Err(Refused::Replayed), "{index}");
    }
    // The window is 64 wide: what fell out of it may have been here, what was left out in it may still come.
    assert_eq!(open(4), Err(Refused::Replayed));
    assert_eq!(open(5), Err(Refused::Replayed));
    assert_eq!(open(6), Ok(()));
    assert_eq!(open(67), Ok(()));
    // A leap forgets all that is further back.
    assert_eq!(open(199), Ok(()));
    assert_eq!(open(135), Err(Refused::Replayed));
    assert_eq!(open(136), Ok(()));
    assert_eq!(open(68), Err(Refused::Replayed));
}

#[test]
fn each_source_has_indices_of_its_own() {
    let mut opener = Opener::new(Suite::AesCm128HmacSha1_80, &master());
    let mut refused = 0;
    for ssrc in 0..80 {
        let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &master());
        let protected = protect_rtcp(&mut sealer, &rtcp(ssrc));
        match opener.open_rtcp(&mut protected.clone()) {
            Ok(_) => assert_eq!(
                opener.open_rtcp(&mut protected.clone()),
                Err(Refused::Replayed),
                "{ssrc}"
            ),
            Err(error) => {
                assert_eq!(error, Refused::Sources);
                refused += 1;
            }
        }
    }
    // No peer has as many, and what is not remembered could be replayed.
    assert_eq!(refused, 80 - 64);
}

#[test]
fn a_report_in_the_clear_is_taken_with_its_tag() {
    let mut opener = Opener::new(Suite::AesCm128HmacSha1_80, &master());
    let mut session = [0; 20];
    master().derive(4, &mut session);
    let mut authenticator = Hmac::<Sha1>::new_from_slice(&session).expect("any length");
    let mut signed = [rtcp(SSRC), hex("00000007")].concat();
    authenticator.update(&signed);
    signed.extend(&authenticator.finalize().into_bytes()[..10]);
    assert_eq!(opener.open_rtcp(&mut signed.clone()), Ok(rtcp(SSRC).as_slice()));
    assert_eq!(opener.open_rtcp(&mut signed), Err(Refused::Replayed));
}

#[test]
fn no_cut_and_no_changed_bit_is_believed() {
    for suite in Suite::ALL {
        let mut sealer = Sealer::new(suite, &master());
        let mut opener = Opener::new(suite, &master());
        let report = protect_rtcp(&mut sealer, &rtcp(SSRC));
        let packet = protect_rtp(&mut sealer, &rtp(SSRC, 65_535, &[9; 20]));
        assert!(opener.verify_rtp(&packet));
        for length in 0..report.len() {
            assert!(
                opener.open_rtcp(&mut report[..length].to_vec()).is_err(),
                "{length} bytes"
            );
        }
        for length in 0..packet.len() {
            assert!(!opener.verify_rtp(&packet[..length]), "{length} bytes");
        }
        for bit in 0..8 * report.len() {
            let mut changed = report.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let before = changed.clone();
            assert_eq!(opener.open_rtcp(&mut changed), Err(Refused::Forged), "bit {bit}");
            assert_eq!(changed, before, "changed though it was refused");
        }
        for bit in 0..8 * packet.len() {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!opener.verify_rtp(&changed), "bit {bit}");
        }
        // Nothing of that was remembered.
        assert_eq!(opener.open_rtcp(&mut report.clone()), Ok(rtcp(SSRC).as_slice()));
    }
}

#[test]
fn another_key_opens_nothing() {
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &master());
    let other = MasterKey::new(&[7; MASTER_BYTES]).expect("30 bytes");
    let mut opener = Opener::new(Suite::AesCm128HmacSha1_80, &other);
    let mut report = protect_rtcp(&mut sealer, &rtcp(SSRC));
    assert_eq!(opener.open_rtcp(&mut report), Err(Refused::Forged));
    assert!(!opener.verify_rtp(&protect_rtp(&mut sealer, &rtp(SSRC, 1, &[]))));
}

#[test]
fn a_master_key_has_30_bytes_and_shows_none_of_them() {
    assert!(MasterKey::new(&[0; 29]).is_none());
    assert!(MasterKey::new(&[0; 31]).is_none());
    assert_eq!(format!("{:?}", master()), "MasterKey");
}
