# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as the host sees it: the contract of every engine, its languages, and what a crash harms."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from array import array
from itertools import pairwise
from pathlib import Path

import pytest

from voxwire.engines import Engine, EngineError, Segment, Settings
from voxwire.testing.engines import SENTENCES, EngineConformance
from voxwire_espeak import EspeakEngine
from voxwire_espeak.voices import VOICES

LONG = (
    "The river rose in the night, and by morning the lower fields were under water. Nobody had seen it so high "
    "since the old bridge fell, which was before my father was born. We carried the chairs upstairs, one by one, "
    "and then the books, and then whatever else came to hand. The dog watched us from the stairs and would not move."
)


class TestConformance(EngineConformance):
    def make(self) -> Engine:
        return EspeakEngine()


@pytest.fixture
async def engine():
    engine = EspeakEngine()
    await engine.start({"workers": "1"})
    yield engine
    await engine.stop()


async def speak(engine, text, *, language=None, **fields):
    session = await engine.open(Settings(language=language))
    pieces = [piece async for piece in session.speak(Segment(text=text, **fields))]
    return b"".join(piece.pcm for piece in pieces), [word for piece in pieces for word in piece.words]


async def eventually(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_it_is_speech_from_the_first_to_the_last_word(engine):
    pcm, words = await speak(engine, LONG)
    samples = array("h", pcm)
    assert len(samples) / 22_050 == pytest.approx(len(LONG.split()) / 175 * 60, rel=0.25)
    assert 1500 < math.sqrt(sum(sample * sample for sample in samples) / len(samples)) < 6000
    assert max(map(abs, samples)) < 32_767
    assert [word for word, _, _ in words] == LONG.split()
    for word, start_s, end_s in words:
        stretch = samples[round(start_s * 22_050) : round(end_s * 22_050)]
        assert max(map(abs, stretch)) > 500, word
        assert end_s - start_s < 1.5, word


async def test_no_gap_and_no_click_at_the_seams_of_pieces(engine):
    session = await engine.open(Settings())
    pieces = [array("h", piece.pcm) async for piece in session.speak(Segment(text=LONG))]
    assert len(pieces) > 3
    whole = array("h")
    seams = []
    for piece in pieces:
        whole += piece
        seams.append(len(whole))
    steps = [abs(later - sooner) for sooner, later in pairwise(whole)]
    largest = max(steps)
    for seam in seams[:-1]:
        assert steps[seam - 1] <= largest * 0.9 or largest in steps[seam - 50 : seam + 50]
    # Runs of silence belong to the pauses of the text, none of which is longer than half a second.
    run = longest = 0
    for sample in whole:
        run = run + 1 if abs(sample) < 20 else 0
        longest = max(longest, run)
    assert longest < 0.5 * 22_050


async def test_first_audio_comes_long_before_the_last(engine):
    await speak(engine, LONG)
    session = await engine.open(Settings())
    began_s = time.perf_counter()
    speech = session.speak(Segment(text=LONG))
    piece = await anext(speech)
    assert piece.pcm
    assert len(piece.pcm) < 44_100
    assert time.perf_counter() - began_s < 0.5
    await speech.aclose()


# Each kills a fresh process of 1.52.0: engines must not run in the server for a reason.
@pytest.mark.parametrize("text", ["\u00a9\u0470", "before \u00a9\u0470 after"])
async def test_a_text_that_crashes_the_library_fails_alone(engine, text):
    before = engine.worker_pids
    other = await engine.open(Settings())
    speech = other.speak(Segment(text=LONG))
    heard = [await anext(speech)]
    began_s = time.monotonic()
    with pytest.raises(EngineError) as caught:
        await speak(engine, text, language="pt")
    assert time.monotonic() - began_s < 5
    assert caught.value.code == "engine_crashed"
    assert "\u00a9" not in str(caught.value)
    heard += [piece async for piece in speech]
    assert [word for piece in heard for word, _, _ in piece.words] == LONG.split()
    assert (await speak(engine, "Still here."))[1][0][0] == "Still"
    await eventually(lambda: len(engine.worker_pids) == 2)
    assert set(engine.worker_pids) != set(before)
    assert engine.crashes == 1
    # The voice is not at fault, nor is the text in another voice.
    assert (await speak(engine, "Bom dia.", language="pt"))[0]


async def test_a_crash_seed_of_markup_is_plain_text_here(engine):
    pcm, _ = await speak(engine, '<say-as interpret-ascharacters"><', language="vi")
    assert pcm
    assert engine.crashes == 0


async def test_a_worker_killed_in_mid_speech_fails_its_context_alone(engine):
    # Stopped first: a whole segment is spoken within milliseconds.
    victim, bystander = engine.worker_pids
    os.kill(bystander, signal.SIGSTOP)
    session = await engine.open(Settings())
    taken = session.speak(Segment(text=LONG))
    first = asyncio.ensure_future(anext(taken))
    await asyncio.sleep(0)
    other_session = await engine.open(Settings())
    others = other_session.speak(Segment(text=LONG))
    second = asyncio.ensure_future(anext(others))
    done, _ = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    stuck, free = (taken, others) if second in done else (others, taken)
    waiting = first if second in done else second
    began_s = time.monotonic()
    os.kill(bystander, signal.SIGKILL)
    with pytest.raises(EngineError) as caught:
        await waiting
    assert time.monotonic() - began_s < 5
    assert caught.value.code == "engine_crashed"
    words = [word for piece in [done.pop().result()] for word, _, _ in piece.words]
    words += [word async for piece in free for word, _, _ in piece.words]
    assert words == LONG.split()
    await stuck.aclose()
    assert victim in engine.worker_pids
    assert (await speak(engine, LONG))[1]
    await eventually(lambda: len(engine.worker_pids) == 2)


async def test_every_language_of_the_protocol_but_tagalog(engine):
    assert set(SENTENCES) - set(engine.info.languages) == {"tl"}
    for code in ("en-US", "en_GB", "pt-BR", "es-MX", "zh-HK", "fr-XX"):
        assert (await speak(engine, "1 2 3", language=code))[0], code
    for code in ("tl", "", "e", "english", "../en", "en/../../x"):
        try:
            await engine.open(Settings(language=code))
        except EngineError as error:
            assert error.code == "language_not_supported"
        else:
            assert code.startswith("en"), code


async def test_chinese_and_japanese_come_by_character(engine):
    for language in ("zh", "ja"):
        text = SENTENCES[language]
        _, words = await speak(engine, text, language=language)
        assert "".join(word for word, _, _ in words) == text
        assert all(len(word) == 1 for word, _, _ in words)


async def test_voices_are_stable_and_keep_their_variant_in_any_language(engine):
    default = next(voice for voice in engine.voices() if voice.default)
    assert default.id == str(uuid.uuid5(uuid.NAMESPACE_URL, "espeak/en/"))
    assert default.languages == ("en",)
    assert len(engine.voices()) == 16 * len(engine.info.languages)
    woman = str(uuid.uuid5(uuid.NAMESPACE_URL, "espeak/fr/f1"))
    assert engine.select(Settings(voice=woman)).name == "fr+f1"
    assert engine.select(Settings(voice="espeak/fr/f1")).name == "fr+f1"
    assert engine.select(Settings(voice=woman, language="de-AT")).name == "de+f1"


@pytest.mark.parametrize(
    ("voice", "name"),
    [
        ("5127c61f-eec1-5692-8f54-90b46494dad5", "en-us"),
        ("0c975f46-c7ff-56c2-a524-07a4b7521080", "en-us+f1"),
        ("9cf4154f-9adf-5ecf-8e70-4d5ee1878c5b", "en-us+whisper"),
        ("6ad159ea-77c3-578f-9003-182d3d076a4f", "de"),
        ("40df4755-3e23-5266-b78b-fc3a0f03a0a1", "fr+f3"),
        ("3b07ee3b-09fb-5276-ab45-3fb47a9b2641", "cmn+m2"),
        ("4b8949ff-5de3-5675-90ab-4fb7052c77a1", "nb+klatt"),
        ("835b484e-50bc-51d8-b57b-500ff3f840c8", "ur+m8"),
    ],
)
def test_ids_are_for_ever(voice, name):
    """Configurations and databases hold them."""
    assert EspeakEngine().select(Settings(voice=voice)).name == name


def test_every_name_that_can_reach_the_library_exists_in_it():
    """The library says for languages, the listing of its data for variants: it takes any name for one."""
    script = (
        "import sys\n"
        "from voxwire_espeak.library import Library\n"
        "library = Library()\n"
        "for name in sys.argv[1:]: library.measure('a', voice=name, rate=175)\n"
    )
    engine = EspeakEngine()
    names = {choice.file_name() for choice in VOICES.values()}
    names |= {engine.select(Settings(language=code)).name for code in ("en-GB", "en-029", "es-419", "fr-BE", "fr-CH")}
    names |= {engine.select(Settings(language=code)).name for code in ("pt-BR", "zh-HK")}
    subprocess.run([sys.executable, "-c", script, *sorted(names)], check=True, stdout=subprocess.DEVNULL, timeout=50)
    import espeakng_loader

    variants = {path.name for path in Path(espeakng_loader.get_data_path(), "voices", "!v").iterdir()}
    assert {choice.variant for choice in VOICES.values()} <= variants | {""}


async def test_workers_are_known_by_their_command_line(engine):
    for pid in engine.worker_pids:
        assert b"voxwire-espeak-worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_the_server_process_never_loads_the_library(engine):
    await speak(engine, "Hello.")
    assert "libespeak-ng" not in Path("/proc/self/maps").read_text()
