//! Audio in another format than the server sends.

use voxwire_audio::{self as audio, Encoding, Format, FormatError};
use voxwire_core::connection::{CommandError, Event};
use voxwire_core::frame::Role;

use crate::support::{End, HOST, S16, client, done, feed, push, server, tell};

const MULAW: Format = Format {
    encoding: Encoding::PcmMulaw,
    sample_rate: 8000,
    channels: 1,
};

fn deliver_to(format: Format) -> End {
    let mut end = client();
    end.open_context("a", "a", S16, Some(format), None)
        .expect("a stream leads from 24 kHz to the format");
    push(&mut end, "a", "Hi.", false);
    end.poll_transmit();
    end
}

/// A sine that has not ended where the audio ends.
fn source(frames: usize) -> Vec<u8> {
    (0..frames)
        .flat_map(|frame| ((8000.0 * (frame as f64 * 0.1).sin()) as i16).to_le_bytes())
        .collect()
}

fn wire(chunks: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut server = server();
    for chunk in chunks {
        server.send_chunk("a", &chunk, 1.0, Some(1)).expect("open");
    }
    server.poll_transmit()
}

/// The audio of all events, each of which must begin where the last ended.
fn heard(events: &[Event<&'static str, Vec<u8>>], format: Format) -> Vec<u8> {
    let mut heard = Vec::new();
    for event in events {
        let Event::Audio { data, start_s, .. } = event else {
            continue;
        };
        let frames = heard.len() / format.frame_bytes();
        assert!((start_s * f64::from(format.sample_rate) - frames as f64).abs() < 1e-6);
        assert_eq!(data.len() % format.frame_bytes(), 0);
        heard.extend_from_slice(data);
    }
    heard
}

#[test]
fn audio_is_delivered_as_one_stream_would_make_it_however_it_is_cut() {
    let source = source(6000);
    let targets = [
        MULAW,
        Format {
            sample_rate: 48000,
            encoding: Encoding::PcmF32le,
            ..MULAW
        },
        Format {
            sample_rate: 24000,
            ..MULAW
        },
    ];
    for format in targets {
        let mut expected = Vec::new();
        let mut stream = audio::Stream::new(S16, format).expect("a stream");
        stream.process(&source, &mut expected).expect("whole frames");
        stream.flush(&mut expected);
        // 1001 bytes cut samples.
        for size in [960, 1001, 4096] {
            let mut end = deliver_to(format);
            let mut events = feed(&mut end, &wire(source.chunks(size).map(<[u8]>::to_vec)));
            events.extend(tell(&mut end, &done("a")));
            assert_eq!(heard(&events, format), expected, "{format:?} in chunks of {size}");
            // The same where the frames come in pieces.
            let mut end = deliver_to(format);
            let wire = wire(source.chunks(size).map(<[u8]>::to_vec));
            let mut in_pieces: Vec<_> = wire.chunks(700).flat_map(|piece| feed(&mut end, piece)).collect();
            in_pieces.extend(tell(&mut end, &done("a")));
            assert_eq!(in_pieces, events, "{format:?} in chunks of {size}");
            let frames = 6000 * format.sample_rate as usize / 24000;
            assert_eq!(expected.len(), frames * format.frame_bytes());
            assert_eq!(
                events.last(),
                Some(&Event::Finished {
                    owner: "a",
                    expired: false
                })
            );
        }
    }
}

#[test]
fn what_a_resampler_holds_comes_before_the_end_of_a_flush() {
    let mut end = deliver_to(MULAW);
    let mut events = feed(&mut end, &wire([source(2400)]));
    let flush_done = r#"{"type":"flush_done","context_id":"a","flush_id":1,"flush_done":true}"#;
    events.extend(tell(&mut end, flush_done));
    assert_eq!(heard(&events, MULAW).len(), 800);
    let [.., Event::Audio { flush_id: Some(1), .. }, Event::FlushDone { .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    // It goes on where it was, and nothing is told twice.
    events.extend(feed(&mut end, &wire([source(2400)])));
    events.extend(tell(&mut end, &done("a")));
    assert_eq!(heard(&events, MULAW).len(), 1600);
}

#[test]
fn the_format_of_the_server_is_delivered_untouched() {
    let mut end = deliver_to(S16);
    let source = source(100);
    let events = feed(&mut end, &wire([source.clone()]));
    assert_eq!(heard(&events, S16), source);
    assert_eq!(tell(&mut end, &done("a")).len(), 1);
}

#[test]
fn formats_without_a_way_between_them_are_refused() {
    let mut end = client();
    let two = Format { channels: 2, ..MULAW };
    assert_eq!(
        end.open_context("a", "a", S16, Some(two), None),
        Err(CommandError::Conversion(FormatError::Channels { source: 1, target: 2 }))
    );
    assert_eq!(end.open_context("a", "a", S16, Some(MULAW), None), Ok(()));
    assert_eq!(end.role(), Role::Client);
    end.handle_data(&wire([source(10)]), None, &HOST);
}
