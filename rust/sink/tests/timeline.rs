//! Audio between silences.

use proptest::collection::vec;
use proptest::prelude::*;
use voxwire_sink::Timeline;

#[test]
fn silence_is_not_counted() {
    let mut timeline = Timeline::default();
    timeline.restart(100);
    timeline.push_silence(10);
    timeline.push_audio(5);
    timeline.push_audio(5);
    timeline.push_silence(3);
    timeline.push_audio(4);
    assert_eq!(timeline.handed(), 27);
    let heard: Vec<u64> = [0, 10, 12, 20, 22, 23, 25, 27, 99]
        .into_iter()
        .map(|frames| timeline.audio_at(frames))
        .collect();
    assert_eq!(heard, [100, 100, 102, 110, 110, 110, 112, 114, 114]);
}

#[test]
fn a_restart_counts_on_from_where_the_audio_stands() {
    let mut timeline = Timeline::default();
    timeline.push_audio(8);
    timeline.forget_before(4);
    timeline.restart(6);
    assert_eq!((timeline.handed(), timeline.audio_at(0)), (0, 6));
    timeline.push_audio(2);
    assert_eq!(timeline.audio_at(1), 7);
}

proptest! {
    #[test]
    fn forgetting_changes_no_answer(spans in vec((0_u64..50, any::<bool>()), 0..20), cuts in vec(0_u64..600, 0..20)) {
        let (mut whole, mut cut) = (Timeline::default(), Timeline::default());
        for &(frames, audio) in &spans {
            for timeline in [&mut whole, &mut cut] {
                if audio { timeline.push_audio(frames) } else { timeline.push_silence(frames) }
            }
        }
        let mut forgotten = 0;
        for frames in cuts {
            forgotten = forgotten.max(frames.min(cut.handed()));
            cut.forget_before(frames);
            for asked in [forgotten, forgotten + 1, forgotten + 77] {
                prop_assert_eq!(cut.audio_at(asked), whole.audio_at(asked));
            }
        }
        prop_assert_eq!(cut.handed(), whole.handed());
    }
}
