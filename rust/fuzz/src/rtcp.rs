//! RTCP of a stranger: a datagram that keeps the rules or is refused whole; `rtcp-types` reads the same reports.
//!
//! Input: the datagram.

use rtcp_types::{Bye, ReceiverReport, RtcpPacketParser as _, SenderReport};
use voxwire_rtp::rtcp::{BLOCK_BYTES, Chunk, Compound, Malformed, Packet, ReportBlock};

const HEADER_BYTES: usize = 4;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

/// Reads the datagram, and every beginning of it.
pub fn target(data: &[u8]) {
    for length in 0..data.len() {
        let _ = read(&data[..length]);
    }
    let outcome = read(data);
    let Some(packets) = split(data) else {
        assert!(outcome.is_err(), "taken, though its packets do not fill it");
        return;
    };
    match outcome {
        Ok(()) => {
            let compound = Compound::parse(data).expect("it was taken just now");
            assert_eq!(compound.packets().count(), packets.len());
            for (ours, bytes) in compound.packets().zip(packets) {
                compare(&ours, bytes);
            }
        }
        // They look at packets one by one, and let padding lie anywhere.
        Err(Malformed::NoReport | Malformed::Padding) => (),
        Err(Malformed::Count) => assert!(
            packets.iter().any(|bytes| is_padded(bytes) || refused_by_them(bytes)),
            "refused, but rtcp-types takes it"
        ),
        Err(error @ (Malformed::Cut | Malformed::Version)) => {
            panic!("{error:?}, though whole packets of version 2 fill it")
        }
    }
}

/// Reads all there is to read.
fn read(datagram: &[u8]) -> Result<(), Malformed> {
    for packet in Compound::parse(datagram)?.packets() {
        match packet {
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                assert!(blocks.len() <= 31);
                blocks.iter().map(ReportBlock::read).for_each(drop);
            }
            Packet::SourceDescription(chunks) => {
                for Chunk { cname, .. } in chunks {
                    assert!(cname.is_none_or(|name| name.len() <= 255));
                }
            }
            Packet::Goodbye(sources) => assert!(sources.len() <= 31),
            Packet::Other(_) => (),
        }
    }
    Ok(())
}

/// The packets by their lengths alone; None where they are not of version 2, or do not end with the datagram.
fn split(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
    let mut packets = Vec::new();
    while packets.is_empty() || !rest.is_empty() {
        let header = rest.first_chunk::<HEADER_BYTES>()?;
        let words = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let (packet, behind) = rest.split_at_checked(HEADER_BYTES + 4 * words)?;
        if header[0] >> 6 != 2 {
            return None;
        }
        packets.push(packet);
        rest = behind;
    }
    Some(packets)
}

fn is_padded(packet: &[u8]) -> bool {
    packet[0] & 0x20 != 0
}

fn refused_by_them(packet: &[u8]) -> bool {
    match packet[1] {
        200 => SenderReport::parse(packet).is_err(),
        201 => ReceiverReport::parse(packet).is_err(),
        GOODBYE => Bye::parse(packet).is_err(),
        _ => false,
    }
}

fn compare(ours: &Packet, bytes: &[u8]) {
    match ours {
        Packet::SenderReport { ssrc, info, blocks } => {
            let theirs = SenderReport::parse(bytes).expect("taken, but rtcp-types refuses it");
            assert_eq!(*ssrc, theirs.ssrc());
            assert_eq!(
                (info.at.0, info.rtp_timestamp, info.packets, info.octets),
                (
                    theirs.ntp_timestamp(),
                    theirs.rtp_timestamp(),
                    theirs.packet_count(),
                    theirs.octet_count()
                )
            );
            compare_blocks(blocks, theirs.report_blocks());
        }
        Packet::ReceiverReport { ssrc, blocks } => {
            let theirs = ReceiverReport::parse(bytes).expect("taken, but rtcp-types refuses it");
            assert_eq!(*ssrc, theirs.ssrc());
            compare_blocks(blocks, theirs.report_blocks());
        }
        Packet::Goodbye(sources) => {
            // They look at the reason too, which nobody reads here.
            if let Ok(theirs) = Bye::parse(bytes) {
                let ours = sources.iter().map(|source| u32::from_be_bytes(*source));
                assert!(ours.eq(theirs.ssrcs()));
            }
        }
        // Theirs takes a source that begins with a zero for the end of the one before.
        Packet::SourceDescription(_) => assert_eq!(bytes[1], SOURCE_DESCRIPTION),
        Packet::Other(kind) => assert_eq!(bytes[1], *kind),
    }
}

fn compare_blocks<'a>(ours: &[[u8; BLOCK_BYTES]], theirs: impl Iterator<Item = rtcp_types::ReportBlock<'a>>) {
    let theirs: Vec<_> = theirs.collect();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().map(ReportBlock::read).zip(theirs) {
        assert_eq!(
            (ours.ssrc, ours.fraction_lost, ours.highest_sequence, ours.jitter),
            (
                theirs.ssrc(),
                theirs.fraction_lost(),
                theirs.extended_sequence_number(),
                theirs.interarrival_jitter()
            )
        );
        assert_eq!(
            (ours.last_report, ours.delay),
            (
                theirs.last_sender_report_timestamp(),
                theirs.delay_since_last_sender_report_timestamp()
            )
        );
        // They leave the sign to others.
        assert_eq!(ours.lost.cast_unsigned() & 0x00ff_ffff, theirs.cumulative_lost());
        assert!((-(1 << 23)..1 << 23).contains(&ours.lost));
    }
}
