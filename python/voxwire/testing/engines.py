# ruff: noqa: S101, RUF001 - the assertions are the product; the sentences are of many scripts
"""What every speech engine must do, as tests that its author inherits.

    from my_package import MyEngine
    from voxwire.testing import EngineConformance

    class TestMyEngine(EngineConformance):
        def make(self):
            return MyEngine()

The tests are plain functions: they run under pytest with any plugins, each on an event loop of its own.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from abc import ABC, abstractmethod
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from voxwire.engines import API_VERSION, Engine, EngineError, Segment, Session, Settings, Span
from voxwire.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["SENTENCES", "EngineConformance"]

#: A sentence in each language of the protocol, and in two that clients add.
SENTENCES = {
    "en": "Hello world, this is a test.",
    "fr": "Bonjour tout le monde, ceci est un essai.",
    "de": "Guten Tag, das ist ein Versuch.",
    "es": "Hola a todos, esto es una prueba.",
    "pt": "Bom dia, isto é um teste.",
    "zh": "你好，今天天气很好。",
    "ja": "こんにちは、これはテストです。",
    "hi": "नमस्ते, यह एक परीक्षा है।",
    "it": "Buongiorno, questa è una prova.",
    "ko": "안녕하세요, 저는 학생 입니다.",
    "nl": "Goedemorgen, dit is een proef.",
    "pl": "Dzień dobry, to jest próba.",
    "ru": "Добрый день, это проверка.",
    "sv": "God morgon, det här är ett prov.",
    "tr": "Merhaba, bu bir deneme.",
    "tl": "Magandang umaga, ito ay isang pagsubok.",
    "bg": "Добър ден, това е проба.",
    "ro": "Bună ziua, aceasta este o probă.",
    "ar": "مرحبا بكم، هذا اختبار.",
    "cs": "Dobrý den, to je zkouška.",
    "el": "Καλημέρα, αυτή είναι μια δοκιμή.",
    "fi": "Hyvää päivää, tämä on koe.",
    "hr": "Dobar dan, ovo je proba.",
    "ms": "Selamat pagi, ini satu ujian.",
    "sk": "Dobrý deň, toto je skúška.",
    "da": "Goddag, dette er en prøve.",
    "ta": "வணக்கம், இது ஒரு சோதனை.",
    "uk": "Добрий день, це перевірка.",
    "hu": "Jó napot, ez egy próba.",
    "no": "God dag, dette er en prøve.",
    "vi": "Xin chào, đây là một thử nghiệm.",
    "bn": "নমস্কার, এটি একটি পরীক্ষা।",
    "th": "สวัสดี นี่คือการทดสอบ",
    "he": "שלום לכולם, זה מבחן.",
    "ka": "გამარჯობა, ეს არის ცდა.",
    "id": "Selamat pagi, ini sebuah ujian.",
    "te": "నమస్కారం, ఇది ఒక పరీక్ష.",
    "gu": "નમસ્તે, આ એક પરીક્ષા છે.",
    "kn": "ನಮಸ್ಕಾರ, ಇದು ಒಂದು ಪರೀಕ್ಷೆ.",
    "ml": "നമസ്കാരം, ഇതൊരു പരീക്ഷണമാണ്.",
    "mr": "नमस्कार, ही एक चाचणी आहे.",
    "pa": "ਸਤ ਸ੍ਰੀ ਅਕਾਲ, ਇਹ ਇੱਕ ਪਰਖ ਹੈ।",
    "or": "ନମସ୍କାର, ଏହା ଏକ ପରୀକ୍ଷା।",
    "ur": "السلام علیکم، یہ ایک آزمائش ہے۔",
}

SENTENCE = SENTENCES["en"]
PARAGRAPH = (
    "The river rose in the night, and by morning the lower fields were under water. Nobody had seen it so high "
    "since the old bridge fell, which was before my father was born. We carried the chairs upstairs, one by one. "
)
ODD_TEXTS = (
    "a\x00b\x01c\x1b[0m",
    "lone \ud800 surrogate",
    "emoji \U0001f468\u200d\U0001f469\u200d\U0001f467 family",
    "שלום עולם, مرحبا",
    "<speak><break time='100s'/></speak>",
    "e" + "\u0301" * 400,
    "9" * 400,
    "...",
    "?!",
    ",",
)


@dataclass
class Spoken:
    """All that a segment gave."""

    pcm: bytearray = field(default_factory=bytearray)
    words: list[Span] = field(default_factory=list)
    phonemes: list[Span] = field(default_factory=list)
    audio_s: float = 0.0


class EngineConformance(ABC):
    """Base class of an engine's tests; override ``make``.

    Attributes:
        config: Options given to ``start``.
        timeout_s: Longest time of one test.
        long_text_characters: Length of the text that must be spoken without a stop.
    """

    config: ClassVar[Mapping[str, Any]] = {}
    timeout_s: ClassVar[float] = 50.0
    long_text_characters: ClassVar[int] = 20_000

    @abstractmethod
    def make(self) -> Engine:
        """Returns a new engine that was not started."""

    def test_describes_itself(self) -> None:
        """The version, the description and the voices are whole."""

        async def scenario(engine: Engine) -> None:
            info = engine.info
            assert engine.api_version == API_VERSION
            assert re.fullmatch(r"[a-z][a-z0-9_-]*", info.name)
            assert info.encoding in {"pcm_s16le", "pcm_f32le"}
            assert 1000 <= info.sample_rate <= 768_000
            assert info.speed_range[0] <= 1.0 <= info.speed_range[1]
            assert info.max_parallel >= 1
            assert info.max_segment_chars >= 100
            voices = engine.voices()
            assert len({voice.id for voice in voices}) == len(voices), "two voices have one id"
            assert len({voice.name for voice in voices}) == len(voices), "two voices have one name"
            assert [voice.default for voice in voices].count(True) == 1, "exactly one voice is the default"
            assert {voice.gender for voice in voices} <= {"masculine", "feminine", "gender_neutral", None}
            for voice in voices:
                await (await engine.open(Settings(voice=voice.id))).close()

        self._run(scenario)

    def test_starts_and_stops_without_a_trace(self) -> None:
        """No task and no descriptor is left; it starts again."""

        async def scenario(engine: Engine) -> None:
            await engine.stop()
            assert not engine.healthy(), "it is healthy after a stop"
            before = _descriptors()
            await engine.start(self.config)
            assert engine.healthy(), "it is not healthy after a start"
            session = await engine.open(Settings())
            generator = session.speak(Segment(text=PARAGRAPH))
            await anext(generator)
            await generator.aclose()
            await engine.stop()
            assert not engine.healthy(), "it is healthy after a stop"
            assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
            assert _descriptors() == before, "a descriptor is left"
            await engine.stop()

        self._run(scenario)

    def test_refuses_an_unknown_option(self) -> None:
        """The error names it."""

        async def scenario(engine: Engine) -> None:
            await engine.stop()
            try:
                await engine.start({**self.config, "no_such_option": "1"})
            except ValueError as error:
                assert "no_such_option" in str(error)  # noqa: PT017 - the kit runs without pytest.raises too
            else:
                raise AssertionError("an unknown option was taken")

        self._run(scenario)

    def test_refuses_an_unknown_voice_or_language(self) -> None:
        """Each with its code."""

        async def scenario(engine: Engine) -> None:
            for voice in ("no-such-voice", "../../../etc/passwd"):
                assert await _refusal(engine, Settings(voice=voice)) == "voice_not_found"
            if engine.info.languages:
                assert await _refusal(engine, Settings(language="xx")) == "language_not_supported"

        self._run(scenario)

    def test_says_nothing_for_nothing(self) -> None:
        """Blank text gives no word and no audio to speak of."""

        async def scenario(engine: Engine) -> None:
            session = await engine.open(Settings())
            for text in ("", " ", "\n \t"):
                spoken = await self._speak(engine, session, Segment(text=text, last=True))
                assert not spoken.words
                assert spoken.audio_s < 0.05

        self._run(scenario)

    def test_times_every_word_of_every_language(self) -> None:
        """Words come in order, as they stand in the text, and end with the audio; other languages are refused."""

        async def scenario(engine: Engine) -> None:
            for language, text in SENTENCES.items():
                settings = Settings(language=language, phonemes=True)
                if engine.info.languages and language not in engine.info.languages:
                    assert await _refusal(engine, settings) == "language_not_supported", language
                    continue
                session = await engine.open(settings)
                spoken = await self._speak(engine, session, Segment(text=text, last=True))
                assert spoken.audio_s > 0.3, f"{language}: a sentence takes only {spoken.audio_s} s"
                if engine.info.words:
                    _check_words(text, spoken.words, language)
                    rest_s = spoken.audio_s - spoken.words[-1][2]
                    assert abs(rest_s) < 0.05, f"{language}: audio goes on for {rest_s} s after the last word"
                if engine.info.phonemes:
                    assert spoken.phonemes, language
                await session.close()

        self._run(scenario)

    def test_tells_only_what_was_asked_for(self) -> None:
        """No times without the wish."""

        async def scenario(engine: Engine) -> None:
            session = await engine.open(Settings(words=False, phonemes=False))
            spoken = await self._speak(engine, session, Segment(text=SENTENCE, last=True))
            assert spoken.audio_s > 0.3
            assert not spoken.words, "words are timed that nobody asked for"
            assert not spoken.phonemes, "phonemes are timed that nobody asked for"

        self._run(scenario)

    def test_cancels_at_once(self) -> None:
        """Closing the generator takes under 50 ms (the best of five), and the next text is spoken."""

        async def scenario(engine: Engine) -> None:
            text = (PARAGRAPH * 10)[: engine.info.max_segment_chars].rsplit(" ", 1)[0]
            session = await engine.open(Settings())
            took_s = []
            for _ in range(5):
                generator = session.speak(Segment(text=text))
                await anext(generator)
                began_s = time.perf_counter()
                await generator.aclose()
                took_s.append(time.perf_counter() - began_s)
            assert min(took_s) < 0.05
            session = await engine.open(Settings())
            spoken = await self._speak(engine, session, Segment(text=SENTENCE, last=True))
            if engine.info.words:
                _check_words(SENTENCE, spoken.words)

        self._run(scenario)

    def test_survives_the_cancelled_task_of_a_listener(self) -> None:
        """A listener that is cancelled while it waits or while it holds a piece takes nobody along."""

        async def scenario(engine: Engine) -> None:
            async def listen() -> None:
                session = await engine.open(Settings())
                await self._speak(engine, session, Segment(text=PARAGRAPH))

            scope = Scope()
            for turns in range(8):
                listener = scope.start(listen(), "listener")
                for _ in range(turns):
                    await asyncio.sleep(0)
                listener.cancel()
                await asyncio.wait([listener])
            session = await engine.open(Settings())
            generator = session.speak(Segment(text=PARAGRAPH))
            await anext(generator)
            await session.close()
            await generator.aclose()
            session = await engine.open(Settings())
            assert (await self._speak(engine, session, Segment(text=SENTENCE))).audio_s > 0.3

        self._run(scenario)

    def test_speaks_two_contexts_side_by_side(self) -> None:
        """Neither hears the other."""

        async def scenario(engine: Engine) -> None:
            texts = (SENTENCE, "Quite another text of seven words.")

            async def speak(text: str) -> Spoken:
                session = await engine.open(Settings())
                return await self._speak(engine, session, Segment(text=text, last=True))

            alone = [await speak(text) for text in texts]
            together = await asyncio.gather(*map(speak, texts * 4))
            for spoken, expected in zip(together, alone * 4, strict=True):
                assert [word for word, _, _ in spoken.words] == [word for word, _, _ in expected.words]
                assert math.isclose(spoken.audio_s, expected.audio_s, rel_tol=0.02)

        self._run(scenario)

    def test_goes_on_over_segments(self) -> None:
        """A sentence in parts gives all its words and about the time of the whole."""

        async def scenario(engine: Engine) -> None:
            first, second = "The river rose in the night ", "and the fields were under water."
            session = await engine.open(Settings())
            whole = await self._speak(engine, session, Segment(text=first + second, last=True))
            session = await engine.open(Settings())
            parts = [
                await self._speak(engine, session, Segment(text=first, ends_sentence=False)),
                await self._speak(engine, session, Segment(text=second, last=True)),
            ]
            if engine.info.words:
                _check_words(first, parts[0].words)
                _check_words(second, parts[1].words)
            assert math.isclose(sum(part.audio_s for part in parts), whole.audio_s, rel_tol=0.15)

        self._run(scenario)

    def test_speed_is_linear(self) -> None:
        """Twice the speed takes half the time, within a tenth."""

        async def scenario(engine: Engine) -> None:
            slowest, fastest = engine.info.speed_range
            session = await engine.open(Settings())
            normal = await self._speak(engine, session, Segment(text=PARAGRAPH, last=True))
            for speed in (0.6, 0.8, 1.25, 1.5):
                if slowest <= speed <= fastest:
                    session = await engine.open(Settings())
                    spoken = await self._speak(engine, session, Segment(text=PARAGRAPH, last=True, speed=speed))
                    assert math.isclose(spoken.audio_s * speed, normal.audio_s, rel_tol=0.1), speed

        self._run(scenario)

    def test_volume_is_linear(self) -> None:
        """Half the volume is half the level, within a twentieth."""

        async def scenario(engine: Engine) -> None:
            if not engine.info.volume:
                return
            levels = {}
            for volume in (0.5, 1.0, 1.5):
                session = await engine.open(Settings())
                spoken = await self._speak(engine, session, Segment(text=SENTENCE, last=True, volume=volume))
                levels[volume] = _level(spoken.pcm, engine.info.encoding)
            for volume in (0.5, 1.5):
                assert math.isclose(levels[volume], levels[1.0] * volume, rel_tol=0.05), volume

        self._run(scenario)

    def test_odd_text_harms_nobody(self) -> None:
        """Whatever a text holds, it is spoken or fails alone."""

        async def scenario(engine: Engine) -> None:
            for text in ODD_TEXTS:
                session = await engine.open(Settings())
                try:
                    await self._speak(engine, session, Segment(text=text, last=True))
                except EngineError as error:
                    assert error.code in {"engine_failed", "engine_crashed", "engine_timeout"}  # noqa: PT017
                session = await engine.open(Settings())
                spoken = await self._speak(engine, session, Segment(text=SENTENCE, last=True))
                assert spoken.audio_s > 0.3, ascii(text)

        self._run(scenario)

    def test_speaks_a_long_text(self) -> None:
        """Segment after segment, as the host cuts them, with every word in its place."""

        async def scenario(engine: Engine) -> None:
            text = (PARAGRAPH * (1 + self.long_text_characters // len(PARAGRAPH)))[: self.long_text_characters]
            pieces = re.findall(rf".{{1,{engine.info.max_segment_chars}}}(?:\s|$)", text)
            session = await engine.open(Settings())
            audio_s = 0.0
            for piece in pieces:
                spoken = await self._speak(engine, session, Segment(text=piece))
                audio_s += spoken.audio_s
                if engine.info.words:
                    _check_words(piece, spoken.words)
            assert audio_s > len(text) * 0.02, f"{audio_s} s of audio for {len(text)} characters"

        self._run(scenario)

    def _run(self, scenario: Callable[[Engine], Awaitable[None]]) -> None:
        async def run() -> None:
            engine = self.make()
            async with asyncio.timeout(self.timeout_s):
                await engine.start(self.config)
                try:
                    await scenario(engine)
                finally:
                    await engine.stop()

        asyncio.run(run())

    async def _speak(self, engine: Engine, session: Session, segment: Segment) -> Spoken:
        """Speaks a segment and checks what holds for each."""
        info = engine.info
        sample_bytes = 2 if info.encoding == "pcm_s16le" else 4
        spoken = Spoken()
        async for piece in session.speak(segment):
            assert len(piece.pcm) % sample_bytes == 0, "a piece holds a part of a sample"
            spoken.pcm += piece.pcm
            spoken.words += piece.words
            spoken.phonemes += piece.phonemes
        spoken.audio_s = len(spoken.pcm) / sample_bytes / info.sample_rate
        for spans in (spoken.words, spoken.phonemes):
            last_end_s = 0.0
            for _, start_s, end_s in spans:
                assert last_end_s - 0.001 <= start_s <= end_s, "spans overlap or run backwards"
                last_end_s = end_s
            assert last_end_s <= spoken.audio_s + 0.001, "a span ends after the audio"
        return spoken


def _check_words(text: str, words: list[Span], what: str = "") -> None:
    """Each word stands in the text, in order, and none that holds a letter is missing."""
    position = 0
    for word, _, _ in words:
        found = text.find(word, position)
        assert found >= 0, f"{what}: a word does not stand in the text, or not in this order"
        position = found + len(word)
    told = "".join(word for word, _, _ in words)
    assert [*filter(str.isalnum, told)] == [*filter(str.isalnum, text)], f"{what}: words are missing or doubled"


async def _refusal(engine: Engine, settings: Settings) -> str | None:
    try:
        session = await engine.open(settings)
    except EngineError as error:
        return error.code
    await session.close()
    return None


def _level(pcm: bytearray, encoding: str) -> float:
    samples = array("h" if encoding == "pcm_s16le" else "f", bytes(pcm))
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


def _descriptors() -> int:
    """Open descriptors of this process; 0 where they cannot be counted."""
    listing = Path("/proc/self/fd")
    return sum(1 for _ in listing.iterdir()) if listing.is_dir() else 0
