"""Looking at a context: playhead, sums, lanes of labels, the silent listener, the recorder, the picture."""

from __future__ import annotations

import asyncio
import dataclasses
import struct
import time
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import voxwire
from voxwire.audio import AudioFormat
from voxwire.playback import open_sink
from voxwire.testing import SinkConformance
from voxwire.trace import Recorder, SilentListener, speak
from voxwire.trace.model import Arrival, Gap, Moment, Push, Reading, TimedWord, Trace, Write
from voxwire.trace.playhead import Playhead
from voxwire.trace.plot import draw
from voxwire.trace.series import lanes, place_words, series

RATE = 24_000


# --- pure parts ---


def test_the_playhead_is_straight_between_two_readings():
    playhead = Playhead([1.0, 2.0, 4.0], [0.0, 1.0, 2.0])
    assert [playhead.reached(audio_s) for audio_s in (0.0, 0.5, 1.0, 1.5, 2.0, 9.0)] == [1.0, 1.5, 2.0, 3.0, 4.0, 4.0]
    assert [playhead.left(audio_s) for audio_s in (0.0, 0.5, 1.0, 1.5, 2.0, 9.0)] == [1.0, 1.5, 2.0, 3.0, 4.0, 4.0]


def test_a_word_ends_where_the_audio_stood_still_and_the_next_begins_where_it_went_on():
    playhead = Playhead([0.0, 1.0, 3.0, 4.0], [0.0, 1.0, 1.0, 2.0])
    assert (playhead.reached(1.0), playhead.left(1.0)) == (1.0, 3.0)


readings = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=30)


@given(readings, st.floats(0, 110))
@example([(0.0, 68.52199828831168), (15.0, 0.0)], 69.0)
def test_a_place_is_never_left_before_it_is_reached(points, audio_s):
    times, played = (sorted(values) for values in zip(*points, strict=True))
    playhead = Playhead(times, played)
    assert times[0] <= playhead.reached(audio_s) <= times[-1]
    assert times[0] <= playhead.left(audio_s) <= times[-1]
    if audio_s < played[-1]:
        assert playhead.left(audio_s) >= playhead.reached(audio_s) - 1e-9


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 20)), max_size=60), st.integers(1, 5))
def test_no_label_covers_another(labels, most):
    spans = sorted((begin, begin + size) for begin, size in labels)
    found = lanes(spans, most, 0.1)
    assert len(found) == len(spans)
    for lane in range(most):
        taken = [span for span, where in zip(spans, found, strict=True) if where == lane]
        assert all(after[0] >= before[1] + 0.1 for before, after in pairwise(taken))
    assert all(lane is None or 0 <= lane < most for lane in found)


def test_labels_with_room_share_the_first_lane():
    assert lanes([(0, 1), (1.5, 2), (1.6, 3), (3.2, 4)], 3, 0.1) == [0, 0, 1, 0]
    assert lanes([(0, 9), (1, 9), (2, 9)], 2, 0.1) == [0, 1, None]


def made(**changes) -> Trace:
    """A second of audio in two pieces, of which 0.6 s were played before an interruption."""
    record = voxwire.Record(
        outcome="cancelled",
        reason="interrupted",
        context_ids=("id",),
        request_id=None,
        characters=20,
        audio_s=1.0,
        words=(),
        heard=None,
        queued_s=0.0,
        connect_s=0.01,
        first_audio_s=0.05,
        first_sound_s=0.06,
        stalls=1,
        underruns=1,
        late_dropped=0,
    )
    trace = Trace(
        server="ws://127.0.0.1:8765",
        sink="file:out.wav",
        voice="tone-1",
        format=AudioFormat(),
        paced=True,
        end_s=0.8,
        pushes=(Push(0.01, 12), Push(0.2, 8)),
        arrivals=(Arrival(0.05, 24_000, 0.0, 0.5), Arrival(0.6, 24_000, 0.5, 0.5)),
        writes=(Write(0.06, 12_000), Write(0.61, 4800)),
        readings=(
            Reading(0.06, 12_000, 0, 0, 0),
            Reading(0.56, 12_000, 12_000, 0, 0),
            Reading(0.62, 16_800, 12_000, 7200, 1),
            Reading(0.72, 16_800, 14_400, 7200, 1),
        ),
        words=(
            TimedWord("Hello,", 0.0, 0.4, "heard", 0.06, 0.46),
            TimedWord("wide", 0.4, 0.8, "half_heard", 0.46, 0.72),
            TimedWord("world.", 0.8, 0.95, "unheard", None, None),
            TimedWord("far", 40.0, 41.0, "unheard", None, None),
        ),
        moments=(Moment("first_audio", 0.05), Moment("first_sound", 0.06), Moment("interrupted", 0.72)),
        stalls=(Gap(0.55, 0.6),),
        underruns=(0.62,),
        record=record,
    )
    return dataclasses.replace(trace, **changes)


def test_the_sums_are_of_what_came_went_and_was_played():
    sums = series(made())
    assert sums.times_s == sorted(sums.times_s)
    points = list(zip(*(getattr(sums, field.name) for field in dataclasses.fields(sums)), strict=True))
    at = {time_s: rest for time_s, *rest in points}
    #                 received, written, played, in the sink, in all
    assert at[0.0] == [0.0, 0.0, 0.0, 0.0, 0.0]
    assert at[0.05] == [0.5, 0.0, 0.0, 0.0, 0.5]
    assert at[0.06] == [0.5, 0.5, 0.0, 0.5, 0.5]
    assert at[0.56] == [0.5, 0.5, 0.5, 0.0, 0.0]
    assert at[0.6] == [1.0, 0.5, 0.5, 0.0, 0.5]
    assert at[0.62] == pytest.approx([1.0, 0.7, 0.5, 0.2, 0.5])
    assert at[0.72] == pytest.approx([1.0, 0.7, 0.6, 0.0, 0.0]), "an interruption throws away what waits"
    # What jumps has two points, the first of which still knows nothing of it.
    assert [rest[0] for time_s, *rest in points if time_s == 0.6] == [0.5, 1.0]
    assert [rest[4] for time_s, *rest in points if time_s == 0.72] == pytest.approx([0.4, 0.0])


def test_what_is_not_paced_is_played_at_once():
    readings = (Reading(0.06, 12_000, 0, 0, 0), Reading(0.3, 12_000, 12_000, 0, 0))
    sums = series(made(paced=False, readings=readings))
    played = [played for time_s, played in zip(sums.times_s, sums.played_s, strict=True) if 0.05 < time_s <= 0.3]
    assert played == [0.0, 0.0, 0.0, 0.5]


def test_unheard_words_stand_where_they_would_have_been_and_not_too_far_away():
    placed, beyond = place_words(made())
    assert [place.word.text for place in placed] == ["Hello,", "wide", "world."]
    assert placed[2].from_s == pytest.approx(0.72 + 0.2)
    assert beyond == 1


# --- the silent listener ---


class TestConformance(SinkConformance):
    def make(self):
        return SilentListener()


async def test_the_silent_listener_takes_as_long_as_the_audio():
    async with voxwire.Client("embedded:tone") as client, open_sink(SilentListener()) as line:
        began = time.monotonic()
        record = await client.say("Some words, one after the other.", sink=line)
        took_s = time.monotonic() - began
    assert record.heard.played_s == record.audio_s > 1
    assert took_s >= 0.95 * record.audio_s
    assert record.heard.certainty.quality == "estimated"


# --- the recorder ---


def check(trace: Trace) -> None:
    """What holds of every trace."""
    record = trace.record
    assert sum(arrival.duration_s for arrival in trace.arrivals) == pytest.approx(record.audio_s, abs=1e-9)
    end_s = 0.0
    for arrival in trace.arrivals:
        assert arrival.start_s == pytest.approx(end_s, abs=1e-6)
        end_s += arrival.duration_s
    for things in (trace.pushes, trace.arrivals, trace.writes, trace.readings, trace.moments):
        assert all(before.time_s <= after.time_s for before, after in pairwise(things))
        assert all(0 <= thing.time_s <= trace.end_s for thing in things)
    for reading in trace.readings:
        assert 0 <= reading.played <= reading.written
        assert reading.pending >= 0
    for before, after in pairwise(trace.readings):
        assert before.played <= after.played
        assert before.xruns <= after.xruns
    assert sum(write.frames for write in trace.writes) == trace.readings[-1].written
    assert [word.text for word in trace.words] == [word.text for word in record.words]
    heard = {
        state: [word.text for word in getattr(record.heard, state)] for state in ("heard", "half_heard", "unheard")
    }
    for state, texts in heard.items():
        assert [word.text for word in trace.words if word.state == state] == texts
    sounded = [word for word in trace.words if word.state != "unheard"]
    assert all(0 <= word.from_s <= word.to_s <= trace.end_s for word in sounded)
    assert all(before.to_s <= after.from_s + 1e-9 for before, after in pairwise(sounded))
    assert trace.readings[-1].played / trace.format.sample_rate == record.heard.played_s
    assert len(trace.underruns) == record.underruns


def seen(recorder: Recorder, line: voxwire.Output) -> Trace:
    paced = line.capabilities.clock != "none"
    return recorder.trace(server="embedded", sink="somewhere", voice=None, paced=paced)


async def test_a_whole_context_is_seen_from_the_first_push_to_the_last_word():
    recorder = Recorder()
    async with voxwire.Client("embedded:tone") as client, open_sink(SilentListener()) as line:
        await speak(client, ["Some words, ", "one after the other."], line, recorder)
    trace = seen(recorder, line)
    check(trace)
    assert trace.record.outcome == "finished"
    assert [push.characters for push in trace.pushes] == [12, 20]
    assert {word.state for word in trace.words} == {"heard"}
    assert [moment.name for moment in trace.moments if moment.name != "flush_done"] == [
        "first_audio",
        "first_sound",
        "done",
    ]
    # A word sounds as long as its audio does, give or take the pieces that the listener counts in; a busy machine may
    # hold up a few.
    off_s = sorted(abs((word.to_s - word.from_s) - (word.end_s - word.start_s)) for word in trace.words)
    assert off_s[len(off_s) // 2] < 0.06


async def test_text_that_lets_wait_for_itself_is_the_zero_of_all_times():
    async def slow():
        await asyncio.sleep(0.1)
        yield "Hello there."

    recorder = Recorder()
    async with voxwire.Client("embedded:tone") as client, open_sink("null:") as line:
        await client.connect()
        began = time.monotonic()
        await speak(client, slow(), line, recorder)
        took_s = time.monotonic() - began
    trace = seen(recorder, line)
    check(trace)
    assert trace.end_s <= took_s - 0.1


async def test_an_interruption_is_seen_with_what_it_left_unheard():
    recorder = Recorder()
    async with voxwire.Client("embedded:tone") as client, open_sink(SilentListener()) as line:
        await speak(
            client,
            "Some words, one after the other, which nobody hears to their end.",
            line,
            recorder,
            interrupt_at_s=0.4,
        )
    trace = seen(recorder, line)
    check(trace)
    assert (trace.record.outcome, trace.record.reason) == ("cancelled", "interrupted")
    interrupted = next(moment for moment in trace.moments if moment.name == "interrupted")
    assert interrupted.time_s - trace.record.first_sound_s >= 0.4
    assert trace.record.heard.played_s < trace.record.audio_s
    assert {word.state for word in trace.words} >= {"heard", "unheard"}


async def test_a_starved_listener_is_seen_to_run_dry():
    from voxwire.server import serve

    recorder = Recorder()
    async with (
        serve(engine="tone", port=0, engine_options={"delay_ms_per_word": "300"}) as server,
        voxwire.Client(server.url) as client,
        open_sink(SilentListener()) as line,
    ):
        await speak(client, "So it is.", line, recorder)
    trace = seen(recorder, line)
    check(trace)
    assert trace.record.underruns >= 1
    assert len(trace.stalls) == trace.record.stalls >= 1
    assert all(gap.end_s > gap.start_s for gap in trace.stalls)


async def test_a_sink_in_another_rate_is_seen_in_its_own_frames():
    recorder = Recorder()
    async with voxwire.Client("embedded:tone") as client, open_sink("null:") as line:
        telephone = AudioFormat("pcm_mulaw", 8000)
        await speak(client, "Hello there.", line, recorder, output_format=telephone)
    trace = seen(recorder, line)
    check(trace)
    assert (trace.format, trace.paced) == (telephone, False)


async def test_a_failure_is_seen_up_to_where_it_came():
    from voxwire.server import serve

    recorder = Recorder()
    async with (
        serve(engine="tone", port=0, engine_options={"fail_on": "broken"}) as server,
        voxwire.Client(server.url) as client,
        open_sink(SilentListener()) as line,
    ):
        with pytest.raises(voxwire.ServerError):
            await speak(client, "This is broken.", line, recorder)
    assert recorder.began
    trace = seen(recorder, line)
    check(trace)
    assert trace.record.outcome == "failed"
    assert [moment.name for moment in trace.moments].count("failed") == 1
    assert trace.arrivals


def test_a_recorder_that_saw_nothing_says_so():
    recorder = Recorder()
    assert not recorder.began
    with pytest.raises(RuntimeError, match="began"):
        recorder.trace(server="embedded", sink="null:", voice=None, paced=False)


# --- the picture ---


def texts(picture: bytes) -> list[str]:
    root = ET.fromstring(picture)
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_is_a_png_of_its_size():
    picture = draw(made(), "png")
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    length, kind, width, height = struct.unpack(">I4sII", picture[8:24])
    assert (length, kind) == (13, b"IHDR")
    assert width >= 1200
    assert height >= 700


def test_the_picture_as_svg_has_its_words_as_text():
    written = texts(draw(made(), "svg"))
    assert {"Hello,", "wide", "world.", "interrupted", "buffer in ms", "seconds since the first push"} <= set(written)
    assert "far" not in written
    assert any("tone-1" in text and "127.0.0.1:8765" in text and "file:out.wav" in text for text in written)
    assert any("1 more not heard" in text for text in written)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_equal_traces_give_equal_pictures(kind):
    assert draw(made(), kind) == draw(made(), kind)


@pytest.mark.parametrize(
    "word",
    [
        "$5",
        "$\\frac$",
        "x_{y}^2",
        "a\x00b\x1b",
        "\udcff",
        "<&>\"'",
        "\u65e5\u672c\u8a9e",
        "\u0645\u0631\u062d\u0628\u0627",
        "w" * 500,
    ],
)
def test_any_word_can_be_drawn(word):
    trace = made(words=(TimedWord(word, 0.0, 0.4, "heard", 0.06, 0.46),), voice=word, sink=f"file:{word}")
    written = texts(draw(trace, "svg"))
    printable = "".join(character if character.isprintable() else "\ufffd" for character in word)
    assert any(text.startswith(printable[:20]) for text in written)
    assert all(len(text) < 400 for text in written)


def test_a_trace_without_audio_can_be_drawn():
    empty = dict.fromkeys(("pushes", "arrivals", "writes", "readings", "words", "moments", "stalls", "underruns"), ())
    picture = draw(made(**empty, end_s=0.0), "svg")
    assert "the server told no times of words" in texts(picture)


def test_many_words_keep_apart():
    words = tuple(
        TimedWord(f"word{index}", index * 0.3, index * 0.3 + 0.29, "heard", index * 0.3, index * 0.3 + 0.29)
        for index in range(200)
    )
    picture = draw(made(words=words, end_s=60.0), "svg")
    root = ET.fromstring(picture)
    places: dict[float, list[tuple[float, str]]] = {}
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        text = "".join(element.itertext())
        if text.startswith("word"):
            places.setdefault(float(element.get("y")), []).append((float(element.get("x")), text))
    assert sum(map(len, places.values())) == 200
    for row in places.values():
        row.sort()
        # In 9 points no letter of these is wider than 7.2.
        assert all(after[0] - before[0] > 4.5 * len(before[1]) for before, after in pairwise(row))
