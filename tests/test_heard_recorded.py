"""What is said to have been heard, held against an independent record of what was played.

Each trial plays up to three contexts one behind the other into one sink and interrupts them at random moments and in
every way. ``VOXWIRE_TRIALS`` sets how many trials there are for each kind of sink.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct
from array import array
from dataclasses import dataclass

import pytest
from paced_sink import PacedSink

import voxwire
from voxwire import plugins
from voxwire.audio import AudioFormat, Resampler, transcode

TRIALS = int(os.environ.get("VOXWIRE_TRIALS", "15"))
PATIENCE_S = 40
NATIVE = AudioFormat("pcm_s16le", 24000)
FORMATS = [
    NATIVE,
    NATIVE,
    AudioFormat("pcm_s16le", 16000),
    AudioFormat("pcm_mulaw", 8000),
    AudioFormat("pcm_f32le", 48000),
]
WORDS = [
    "One",
    "two,",
    "three",
    "four.",
    "Five",
    "six!",
    "Seven",
    "(eight)",
    "nine,",
    "ten;",
    "twelve?",
    "A",
    "b",
    "c.",
]
NUMBERS = ["24", "1999,", "3.5", "$7."]


# --- the sinks and their records


class PacedRecord:
    """A device that plays twenty times faster than time and keeps what it played."""

    longest_s, most_words = 0.4, 16

    def __init__(self, chance, audio_format, tmp_path):
        del tmp_path
        self.sink = PacedSink(
            speed=20.0,
            formats=(audio_format,),
            can_clear=chance.random() < 0.75,
            can_pause=chance.random() < 0.5,
            max_lead_ms=chance.choice([0, 0, 0, 0, 0, 100]),
            quantum=chance.choice([1, audio_format.sample_rate // 50]),
        )

    def read(self):
        return bytes(self.sink.played_audio)


class FileRecord:
    """A WAV file, written as fast as the audio comes."""

    scheme, suffix, query = "file", ".wav", ""
    longest_s, most_words = 0.06, 16

    def __init__(self, chance, audio_format, tmp_path):
        del chance, audio_format
        self.path = tmp_path / f"record{self.suffix}"
        self.sink = f"{self.scheme}:{self.path}{self.query}"

    def read(self):
        data, at = self.path.read_bytes(), 12
        while at < len(data):
            name, size = struct.unpack_from("<4sI", data, at)
            if name == b"data":
                return data[at + 8 : at + 8 + size]
            at += 8 + size + size % 2
        raise AssertionError("no data chunk")


class RawRecord(FileRecord):
    """The bare samples, written as fast as they come."""

    scheme, suffix = "raw", ".pcm"

    def read(self):
        return self.path.read_bytes()


class RealTimeRecord(FileRecord):
    """A WAV file that grows at the pace of speech."""

    query = "?realtime=1"
    longest_s, most_words = 1.0, 4


KINDS = {"paced": PacedRecord, "file": FileRecord, "raw": RawRecord, "realtime": RealTimeRecord}
# Those in real time take seconds each.
CASES = [(kind, seed) for kind in KINDS for seed in range(TRIALS if kind != "realtime" else -(-TRIALS // 4))]


# --- a trial


@dataclass
class Turn:
    """One context: what is planned for it, and what was heard."""

    text: str
    output_format: AudioFormat | None
    end: str
    fade_ms: int
    after_s: float
    pause_s: float
    trickles: bool
    heard: voxwire.Heard | None = None
    audio: bytes = b""


def make_text(chance, engine, most_words):
    count = chance.randint(most_words // 4, most_words)
    words = chance.choices(WORDS + (NUMBERS if engine == "espeak" else []), k=count)
    # The first word of a context must hold a letter, and some texts end in the middle of a sentence.
    return " ".join(["Well,", *words])


def plan(chance, kind, audio_format, engine):
    longest_s, most_words = KINDS[kind].longest_s, KINDS[kind].most_words
    turns = []
    for number in range(chance.randint(1, 3)):
        end = chance.choice(["now", "now", "now", "word", "sentence", "whole"])
        # One fade at most: the length of each could not be told from the record else.
        fades = end == "now" and not any(turn.fade_ms for turn in turns) and chance.random() < 0.5
        turns.append(
            Turn(
                text=make_text(chance, engine, most_words),
                # A file takes what it is offered first.
                output_format=audio_format if not number and kind != "paced" else chance.choice([None, *FORMATS]),
                end=end,
                fade_ms=chance.choice([3, 10, 50]) if fades else 0,
                after_s=chance.uniform(0, longest_s),
                pause_s=chance.uniform(0, longest_s / 4) if chance.random() < 0.3 else 0.0,
                trickles=chance.random() < 0.3,
            )
        )
    return turns


async def trickle(text):
    for word in text.split(" "):
        yield word if word == "Well," else f" {word}"
        await asyncio.sleep(0.002)


async def follow(turn, playback):
    """Pauses and interrupts a playback as planned, or lets it play to its end."""
    if turn.pause_s:
        await asyncio.sleep(turn.after_s / 2)
        playback.pause()
        await asyncio.sleep(turn.pause_s)
        playback.resume()
        await asyncio.sleep(turn.after_s / 2)
    else:
        await asyncio.sleep(turn.after_s)
    if turn.end == "whole":
        turn.heard = await playback.wait()
    else:
        turn.heard = await playback.interrupt(at=turn.end, fade_ms=turn.fade_ms)
        assert await playback.interrupt() is turn.heard


async def listen(client, text, source, target):
    """All audio of a text, converted in one piece to the format of the sink."""
    async with client.context(text, output_format=source, add_timestamps=True) as context:
        data = b"".join([event.data async for event in context if isinstance(event, voxwire.Audio)])
    if source == target:
        return data
    if source.sample_rate == target.sample_rate:
        return transcode(data, source, target)
    resampler = Resampler(source, target)
    return resampler.process(data) + resampler.finish()


async def trial(kind, seed, tmp_path, engine):
    chance = random.Random(f"{kind} {seed}")
    audio_format = chance.choice(FORMATS)
    record = KINDS[kind](chance, audio_format, tmp_path)
    turns = plan(chance, kind, audio_format, engine)
    async with asyncio.timeout(PATIENCE_S), voxwire.Client(f"embedded:{engine}") as client:
        await client.connect()
        async with voxwire.open_sink(record.sink) as line, contextlib.AsyncExitStack() as stack:
            playing = []
            for turn in turns:
                context = await stack.enter_async_context(
                    client.context(trickle(turn.text) if turn.trickles else turn.text, output_format=turn.output_format)
                )
                playback = await context.play(line)
                playing.append(asyncio.ensure_future(follow(turn, playback)))
            await asyncio.gather(*playing)
            opened = line.format
        assert opened == audio_format
        for turn in turns:
            turn.audio = await listen(client, turn.text, turn.output_format or opened, opened)
    return opened, turns, record.read()


# --- the comparison


def runs_of_sound(samples):
    """Where each word of the tone engine begins and ends: its pauses are at least 20 ms of zeros."""
    runs, begin, last = [], None, 0
    for index, sample in enumerate(samples):
        if not sample:
            continue
        if begin is not None and index - last > 240:
            runs.append((begin, last + 1))
            begin = None
        if begin is None:
            begin = index
        last = index
    return runs if begin is None else [*runs, (begin, last + 1)]


def check_words(turn, rate, frames):
    """The parts are in order and whole, and each word is on the right side of what was recorded."""
    heard = turn.heard
    # An interruption may come before all text was pushed.
    pushed = heard.text + heard.rest
    assert turn.text.startswith(pushed)
    assert pushed == turn.text if turn.end == "whole" else turn.trickles or pushed in {"", turn.text}
    words = [*heard.heard, *heard.half_heard, *heard.unheard]
    assert [word.text for word in words] == turn.text.split(" ")[: len(words)]
    for word in words:
        if word.span is not None:
            begin, end = word.span
            assert turn.text[begin:end] == word.text
    # A resampled end lies between two frames, and times are told in microseconds.
    for word in heard.heard:
        assert word.end_s * rate < frames + 1
    for word in heard.unheard:
        assert word.start_s * rate > frames - 1
    assert len(heard.half_heard) <= 1
    if heard.heard and heard.heard[-1].span is not None:
        assert heard.text == turn.text[: heard.heard[-1].span[1]]


def check_sound(turn, recorded):
    """The same by ear: of a word that was heard all samples are there, of one that was not none is."""
    runs = runs_of_sound(array("h", turn.audio))
    assert len(runs) == len(turn.text.split(" "))
    frames = len(recorded) // 2
    heard, half = len(turn.heard.heard), len(turn.heard.half_heard)
    assert all(end <= frames for _, end in runs[:heard])
    assert all(begin >= frames for begin, _ in runs[heard + half :][: len(turn.heard.unheard)])
    assert runs_of_sound(array("h", recorded))[:heard] == runs[:heard]


def compare(opened, turns, record, *, by_ear):
    """Goes through the record turn by turn; returns whether every count was said to be exact."""
    frame_bytes, rate = opened.frame_bytes, opened.sample_rate
    bound_frames = round(sum(turn.heard.certainty.bound_s for turn in turns) * rate)
    at, surplus = 0, len(record) // frame_bytes
    for turn in turns:
        frames = round(turn.heard.played_s * rate)
        assert abs(turn.heard.played_s * rate - frames) < 1e-6
        surplus -= frames
        check_words(turn, rate, frames)
        if turn.end == "whole" and by_ear:
            assert frames * frame_bytes == len(turn.audio)
            assert (turn.heard.rest, turn.heard.half_heard, turn.heard.unheard) == ("", (), ())
    # What was played and not counted can only be the fade.
    fade_frames = sum(round(turn.fade_ms * rate / 1000) for turn in turns)
    assert -bound_frames <= surplus <= fade_frames + bound_frames
    if bound_frames or not by_ear:
        return not bound_frames
    for turn in turns:
        size = round(turn.heard.played_s * rate) * frame_bytes
        recorded = record[at : at + size]
        assert recorded == turn.audio[:size]
        assert len(recorded) == size
        if opened == NATIVE and turn.output_format in {None, NATIVE}:
            check_sound(turn, recorded)
        at += size + (surplus * frame_bytes if turn.fade_ms else 0)
    assert at == len(record)
    return True


def has_engine(name):
    return name in {info.name for info in plugins.engines()}


@pytest.mark.parametrize(("kind", "seed"), CASES)
async def test_what_is_heard_is_what_was_recorded(tmp_path, kind, seed):
    if kind != "paced":
        pytest.importorskip("voxwire_file")
    if kind == "realtime" and "realtime" not in plugins.load(plugins.SINKS, "file").options:
        pytest.skip("needs the option realtime of the sink file")
    engine = "espeak" if seed % 5 == 4 and has_engine("espeak") else "tone"
    opened, turns, record = await trial(kind, seed, tmp_path, engine)
    exact = compare(opened, turns, record, by_ear=engine == "tone")
    assert exact or kind == "realtime"


async def test_the_comparison_sees_a_single_frame(tmp_path):
    """A faulty control: a comparison that cannot fail proves nothing."""
    seed, turns = 0, []
    while not sum(turn.heard.played_s for turn in turns) or any(turn.fade_ms for turn in turns):
        opened, turns, record = await trial("paced", seed, tmp_path, "tone")
        seed += 1
    assert compare(opened, turns, record, by_ear=True)
    for wrong in (record[opened.frame_bytes :], record[: -opened.frame_bytes], record + bytes(opened.frame_bytes)):
        with pytest.raises(AssertionError):
            compare(opened, turns, wrong, by_ear=True)
