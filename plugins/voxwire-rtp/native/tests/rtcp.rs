//! RTCP byte by byte: what we say, what we read, and what no peer can do to us.

use proptest::collection::vec;
use proptest::prelude::*;
use voxwire_rtp::rtcp::{
    Chunk, Cname, Compound, InvalidCname, Malformed, Ntp, Packet, ROOM_BYTES, Report, ReportBlock, SenderInfo,
};

const SSRC: u32 = 0x1122_3344;
const INFO: SenderInfo = SenderInfo {
    at: Ntp(0xb44d_b705_2000_0000),
    rtp_timestamp: 0x0102_0304,
    packets: 50,
    octets: 8000,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|digit| (digit as char).to_digit(16).expect("a digit") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn cname(name: &str) -> Cname {
    Cname::new(name).expect("a name that fits")
}

fn written(report: &Report) -> Vec<u8> {
    let mut room = [0xa5; ROOM_BYTES];
    let length = report.write(&mut room);
    assert!(
        room[length..].iter().all(|&byte| byte == 0xa5),
        "written behind the end"
    );
    room[..length].to_vec()
}

/// A sender report with two blocks, a description of two sources, a goodbye with a reason, and a packet of a kind that
/// is not read, padded.
fn of_a_peer() -> Vec<u8> {
    hex("82c80012 aabbccdd b44db705 20000000 01020304 00000032 00001f40
           11223344 40fffffe 0001ffff 00000010 b7052000 00054000
           55667788 00000003 00000007 00000000 00000000 00000000
         82ca0006 aabbccdd 01056140622e63 00 00112233 0603787878 000000
         82cb0003 aabbccdd 00112233 03627965
         a0cc0003 aabbccdd 74657374 00000004")
}

/// Everything that can be read of a datagram.
fn walk(datagram: &[u8]) -> Result<usize, Malformed> {
    let mut pieces = 0;
    for packet in Compound::parse(datagram)?.packets() {
        pieces += match packet {
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                blocks.iter().map(ReportBlock::read).count()
            }
            Packet::SourceDescription(chunks) => chunks.count(),
            Packet::Goodbye(sources) => sources.len(),
            Packet::Other(_) => 1,
        };
    }
    Ok(pieces)
}

#[test]
fn a_sender_reports_with_its_name() {
    let report = Report {
        ssrc: SSRC,
        cname: &cname("a@b.c"),
        sent: Some(INFO),
        goodbye: false,
    };
    assert_eq!(
        written(&report),
        hex("80c80006 11223344 b44db705 20000000 01020304 00000032 00001f40
             81ca0003 11223344 01056140 622e63 00")
    );
}

#[test]
fn who_has_sent_nothing_reports_as_a_receiver() {
    let report = Report {
        ssrc: SSRC,
        cname: &cname("abcd"),
        sent: None,
        goodbye: false,
    };
    // Items that end at a word are followed by a whole word of zeros: one to end the list, three to fill up.
    assert_eq!(
        written(&report),
        hex("80c90001 11223344 81ca0003 11223344 0104 61626364 0000")
    );
}

#[test]
fn a_goodbye_comes_last() {
    let report = Report {
        ssrc: SSRC,
        cname: &cname("ab"),
        sent: None,
        goodbye: true,
    };
    assert_eq!(
        written(&report),
        hex("80c90001 11223344 81ca0003 11223344 0102 6162 00000000 81cb0001 11223344")
    );
}

#[test]
fn a_name_of_every_length_is_read_back() {
    for length in 1..=255 {
        let name = "n".repeat(length);
        let report = Report {
            ssrc: SSRC,
            cname: &cname(&name),
            sent: Some(INFO),
            goodbye: true,
        };
        let datagram = written(&report);
        let compound = Compound::parse(&datagram).expect("a datagram of ours");
        let mut packets = compound.packets();
        assert!(
            matches!(
                packets.next(),
                Some(Packet::SenderReport {
                    ssrc: SSRC,
                    info: INFO,
                    blocks: []
                })
            ),
            "{length}"
        );
        let Some(Packet::SourceDescription(chunks)) = packets.next() else {
            panic!("no description with a name of {length} bytes");
        };
        let chunk = Chunk {
            ssrc: SSRC,
            cname: Some(name.as_bytes()),
        };
        assert_eq!(chunks.collect::<Vec<_>>(), [chunk]);
        assert!(matches!(packets.next(), Some(Packet::Goodbye([source])) if *source == SSRC.to_be_bytes()));
        assert!(packets.next().is_none());
    }
}

#[test]
fn names_that_rtcp_cannot_carry_are_refused() {
    assert_eq!(Cname::new(""), Err(InvalidCname { bytes: 0 }));
    assert_eq!(Cname::new("a\0b"), Err(InvalidCname { bytes: 3 }));
    let error = Cname::new(&"ü".repeat(128)).expect_err("256 bytes");
    assert_eq!(error.to_string(), "cname of 256 bytes, expected 1 to 255 without NUL");
}

#[test]
fn reports_of_a_peer_are_read() {
    let datagram = of_a_peer();
    let compound = Compound::parse(&datagram).expect("a good datagram");
    let packets: Vec<_> = compound.packets().collect();
    let [
        Packet::SenderReport { ssrc, info, blocks },
        Packet::SourceDescription(chunks),
        Packet::Goodbye(sources),
        Packet::Other(204),
    ] = packets.as_slice()
    else {
        panic!("{packets:?}");
    };
    assert_eq!((*ssrc, *info), (0xaabb_ccdd, INFO));
    let about_us = ReportBlock {
        ssrc: SSRC,
        fraction_lost: 64,
        lost: -2,
        highest_sequence: 0x0001_ffff,
        jitter: 16,
        last_report: 0xb705_2000,
        delay: 0x0005_4000,
    };
    let about_another = ReportBlock {
        ssrc: 0x5566_7788,
        fraction_lost: 0,
        lost: 3,
        highest_sequence: 7,
        jitter: 0,
        last_report: 0,
        delay: 0,
    };
    let blocks: Vec<_> = blocks.iter().map(ReportBlock::read).collect();
    assert_eq!(blocks, [about_us, about_another]);
    let named = Chunk {
        ssrc: 0xaabb_ccdd,
        cname: Some(b"a@b.c".as_slice()),
    };
    let nameless = Chunk {
        ssrc: 0x0011_2233,
        cname: None,
    };
    assert_eq!(chunks.clone().collect::<Vec<_>>(), [named, nameless]);
    assert_eq!(*sources, [0xaabb_ccdd_u32.to_be_bytes(), 0x0011_2233_u32.to_be_bytes()]);
}

#[test]
fn thirty_one_blocks_are_the_most() {
    let block = hex("11223344 00000000 00000000 00000000 00000000 00000000");
    let datagram = [hex("9fc900bb aabbccdd"), block.repeat(31)].concat();
    assert_eq!(walk(&datagram), Ok(31));
    // A profile may say more behind them.
    let datagram = [hex("81c9000d aabbccdd"), block.repeat(2)].concat();
    assert_eq!(walk(&datagram), Ok(1));
}

#[test]
fn what_breaks_a_rule_is_refused_whole() {
    let cases = [
        ("", Malformed::Cut),
        ("80c900", Malformed::Cut),
        ("80c90002 aabbccdd", Malformed::Cut),
        ("80c9ffff aabbccdd", Malformed::Cut),
        ("80c90001 aabbccdd 00", Malformed::Cut),
        ("40c90001 aabbccdd", Malformed::Version),
        ("80c90001 aabbccdd 00ca0000", Malformed::Version),
        ("81ca0003 aabbccdd 01056140 622e6300", Malformed::NoReport),
        ("81cb0001 aabbccdd", Malformed::NoReport),
        ("80cc0001 aabbccdd", Malformed::NoReport),
        // Padding before the last packet, of no bytes, of no whole word, longer than the packet.
        ("a0c90002 aabbccdd 00000004 80cb0000", Malformed::Padding),
        ("a0c90002 aabbccdd 00000000", Malformed::Padding),
        ("a0c90002 aabbccdd 00000003", Malformed::Padding),
        ("a0c90002 aabbccdd 0000000c", Malformed::Padding),
        ("a0c90000", Malformed::Padding),
        // The padding was the SSRC.
        ("a0c90001 00000004", Malformed::Count),
        ("80c90000", Malformed::Count),
        ("80c80001 aabbccdd", Malformed::Count),
        ("81c90001 aabbccdd", Malformed::Count),
        (
            "9fc90007 aabbccdd 11223344 00000000 00000000 00000000 00000000 00000000",
            Malformed::Count,
        ),
        ("80c90001 aabbccdd 82cb0001 aabbccdd", Malformed::Count),
    ];
    for (datagram, error) in cases {
        assert_eq!(walk(&hex(datagram)), Err(error), "{datagram}");
    }
}

#[test]
fn a_description_that_breaks_a_rule_costs_no_report() {
    let cases = [
        // Fewer sources than announced, an item longer than its packet, half an item, no zero at the end.
        ("82ca0003 aabbccdd 01056140 622e6300", 1),
        ("81ca0002 aabbccdd 01096161", 0),
        ("81ca0002 aabbccdd 01016101", 0),
        ("81ca0002 aabbccdd 01026161", 1),
        ("80ca0000", 0),
        ("9fca0000", 0),
    ];
    for (description, chunks) in cases {
        let report = "81c90007 aabbccdd 11223344 00000000 00000000 00000000 00000000 00000000";
        assert_eq!(
            walk(&hex(&format!("{report} {description}"))),
            Ok(1 + chunks),
            "{description}"
        );
    }
}

#[test]
fn no_cut_is_taken_for_the_whole() {
    let datagram = of_a_peer();
    assert_eq!(walk(&datagram), Ok(7));
    let ends = [76, 104, 120];
    for length in 0..datagram.len() {
        let pieces = walk(&datagram[..length]);
        assert_eq!(pieces.is_ok(), ends.contains(&length), "{length} bytes: {pieces:?}");
    }
}

#[test]
fn no_changed_bit_is_a_danger() {
    let datagram = of_a_peer();
    for bit in 0..8 * datagram.len() {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        for length in 0..=changed.len() {
            let _ = walk(&changed[..length]);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_are_a_danger(
        head in prop_oneof![Just(vec![]), Just(hex("80c90001 aabbccdd")), Just(hex("81c90007"))],
        bytes in vec(any::<u8>(), 0..200),
    ) {
        let datagram = [head, bytes].concat();
        let pieces = walk(&datagram);
        prop_assert!(pieces.is_err() || datagram.len() % 4 == 0);
    }
}

#[test]
fn times_are_those_of_ntp() {
    // The example of RFC 3550, section 6.4.1: 10 November 1995, 11:33:25.125.
    let at = Ntp::from_unix_ns(816_003_205_125_000_000);
    assert_eq!(at, INFO.at);
    assert_eq!(at.middle(), 0xb705_2000);
    assert_eq!(Ntp::from_unix_ns(999_999_999).0 >> 32, 2_208_988_800);
    // In 2036 the seconds begin anew.
    assert_eq!(Ntp::from_unix_ns(2_085_978_496_000_000_000), Ntp(0));
}

fn answer(last_report: u32, delay: u32) -> ReportBlock {
    ReportBlock {
        ssrc: SSRC,
        fraction_lost: 0,
        lost: 0,
        highest_sequence: 0,
        jitter: 0,
        last_report,
        delay,
    }
}

#[test]
fn a_round_trip_is_what_the_delay_leaves_of_the_time() {
    // The example of RFC 3550, figure 2: 6.125 s.
    let arrival = Ntp(0xb44d_b710_8000_0000);
    assert_eq!(
        answer(0xb705_2000, 0x0005_4000).round_trip_ns(arrival),
        Some(6_125_000_000)
    );
    // Across the end of the 16 bits of seconds.
    assert_eq!(
        answer(0xffff_8000, 0).round_trip_ns(Ntp(0x1_0000_8000_0000)),
        Some(1_000_000_000)
    );
}

#[test]
fn numbers_that_contradict_each_other_make_no_round_trip() {
    let arrival = Ntp(0xb44d_b710_8000_0000);
    assert_eq!(answer(0, 0).round_trip_ns(arrival), None);
    // Kept for longer than it was away: a little, and too much for any clock.
    assert_eq!(answer(0xb710_0000, 0x8010).round_trip_ns(arrival), Some(0));
    assert_eq!(answer(0xb710_0000, 0x9000).round_trip_ns(arrival), None);
    assert_eq!(answer(0xb710_0000, u32::MAX).round_trip_ns(arrival), None);
    // Sent in future, and hours ago.
    assert_eq!(answer(0xb710_8001, 0).round_trip_ns(arrival), None);
    assert_eq!(answer(0x3705_2000, 0).round_trip_ns(arrival), None);
}
