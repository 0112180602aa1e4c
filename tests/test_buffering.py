"""The continuation buffer and its splitter (protocol.md 7), without a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxwire.server.speech import sentences
from voxwire.server.speech.buffering import ContinuationBuffer
from voxwire.server.speech.markup import Manner

PLAIN = Manner()
DELAY_S = 3.0


def texts(releases) -> list[str]:
    return [release.text for release in releases]


class Timeline:
    """A buffer and its time."""

    def __init__(self, max_characters: int = 500, *, begun: bool = True) -> None:
        self.buffer = ContinuationBuffer(max_characters)
        self.now = 0.0
        if begun:
            self.buffer.add("x", PLAIN, delay_s=DELAY_S, now=0.0)
            list(self.buffer.take_all())

    def add(self, text: str, *, delay_s: float = DELAY_S, ahead_s: float = 0.0) -> list[str]:
        self.buffer.add(text, PLAIN, delay_s=delay_s, now=self.now)
        return texts(self.buffer.take(self.now, ahead_s=ahead_s))

    def wait(self, ahead_s: float = 0.0) -> list[str]:
        """Goes to the time that the buffer named."""
        assert self.buffer.due is not None
        self.now = max(self.now, self.buffer.due)
        return texts(self.buffer.take(self.now, ahead_s=ahead_s))


class TestManagedMode:
    def test_a_sentence_is_settled_by_what_follows(self):
        line = Timeline()
        assert line.add("Hello there.") == []
        assert line.add(" ") == []
        assert line.add("How") == ["Hello there. "]

    def test_a_pause_settles_the_last_sentence(self):
        line = Timeline()
        line.add("Hello there.")
        assert line.buffer.due == pytest.approx(0.150)
        assert line.wait() == ["Hello there."]
        assert line.buffer.due is None

    def test_a_short_delay_is_a_short_pause(self):
        line = Timeline()
        line.add("Hello there.", delay_s=0.05)
        assert line.wait() == ["Hello there."]
        assert line.now == pytest.approx(0.05)

    def test_short_sentences_join_while_enough_audio_is_ahead(self):
        line = Timeline()
        assert line.add("Yes. No. Perhaps we shall see. Then", ahead_s=1.5) == ["Yes. No. Perhaps we shall see. "]
        assert line.add(" what. And", ahead_s=0.5) == ["Then what. "]

    def test_the_first_audio_may_begin_with_a_clause(self):
        line = Timeline(begun=False)
        assert line.add("When all of this is over, we shall") == []
        assert line.add(" go home") == ["When all of this is over, "]
        assert line.add(", which will take a while, I suppose") == []

    def test_at_the_deadline_the_cut_is_at_a_blank(self):
        line = Timeline()
        line.add("one two thr")
        assert line.wait() == ["one two "]
        assert line.now == pytest.approx(DELAY_S)
        assert line.buffer.due == pytest.approx(2 * DELAY_S)
        assert line.wait() == ["thr"]

    def test_the_deadline_is_that_of_the_oldest_text(self):
        line = Timeline()
        line.add("one ")
        line.now = 2.0
        line.add("two")
        assert line.buffer.due == pytest.approx(DELAY_S)

    def test_a_deadline_does_not_end_the_sentence(self):
        line = Timeline()
        line.add("one two ")
        (release,) = line.buffer.take(DELAY_S, ahead_s=0.0)
        assert not release.ends_sentence

    @pytest.mark.parametrize("text", ["It costs 3.", "See Dr.", "Go to www.example.", "By J."])
    def test_what_may_go_on_waits_for_the_delay(self, text):
        line = Timeline()
        line.add(text)
        assert line.buffer.due == pytest.approx(DELAY_S)
        assert line.wait() == [text]

    def test_long_text_without_an_end_is_cut_at_a_clause_else_a_blank(self):
        line = Timeline(max_characters=20)
        assert line.add("one, two three four five") == ["one, "]
        assert line.add(" six seven") == ["two three four five "]

    def test_unspeakable_text_waits_for_what_comes_next(self):
        line = Timeline()
        assert line.add("... ") == []
        assert line.buffer.due is None
        assert not line.buffer.speakable
        line.now = 100.0
        assert line.add("Well. Then") == ["... Well. "]

    def test_a_number_in_two_inputs_is_one(self):
        line = Timeline()
        assert line.add("Pi is 3.") == []
        assert line.add("14 or so. Well") == ["Pi is 3.14 or so. "]

    def test_many_short_sentences_come_in_portions(self):
        line = Timeline()
        found = line.add("No. " * 1000)
        assert len(found) < 100
        while line.buffer.speakable:
            found += line.wait()
        assert found == ["No. "] * 1000


class TestRelease:
    def test_all_of_it_as_sentences(self):
        buffer = ContinuationBuffer()
        buffer.add("Hello. How are you? Fine", PLAIN, delay_s=DELAY_S, now=0.0)
        releases = list(buffer.take_all())
        assert texts(releases) == ["Hello. ", "How are you? ", "Fine"]
        assert all(release.ends_sentence for release in releases)
        assert [release.final for release in releases] == [False, False, True]
        assert (buffer.size_bytes, buffer.speakable) == (0, False)

    def test_nothing_is_voiced_that_cannot_be_alone(self):
        buffer = ContinuationBuffer()
        buffer.add(" ... ", PLAIN, delay_s=DELAY_S, now=0.0)
        assert list(buffer.take_all()) == []

    def test_custom_inputs_begin_a_word(self):
        buffer = ContinuationBuffer()
        buffer.add("there", PLAIN, delay_s=DELAY_S, now=0.0)
        buffer.add("How", PLAIN, delay_s=0.0, now=0.0, separate=True)
        assert texts(buffer.take_all()) == ["there How"]

    def test_each_input_in_its_manner_and_words_whole(self):
        loud, fast = Manner(volume=2.0), Manner(speed=1.5)
        buffer = ContinuationBuffer()
        buffer.add("one tw", loud, delay_s=DELAY_S, now=0.0)
        buffer.add("o three ", fast, delay_s=DELAY_S, now=0.0)
        buffer.add("four", fast, delay_s=DELAY_S, now=0.0)
        (release,) = buffer.take_all()
        assert release.runs == (("one two", loud), (" three four", fast))

    @given(
        st.lists(st.text(st.sampled_from('ab .!?,;é你。<>"/3\n\u0301'), max_size=30), max_size=12),
        st.integers(5, 60),
    )
    def test_every_cut_of_the_text_gives_the_text(self, inputs, longest):
        buffer = ContinuationBuffer(longest)
        found = []
        for index, text in enumerate(inputs):
            buffer.add(text, Manner(speed=0.6 + index % 2), delay_s=DELAY_S, now=float(index))
            found += buffer.take(float(index), ahead_s=0.0)
        waiting = buffer.due
        assert (waiting is not None) == buffer.speakable
        found += buffer.take_all()
        joined = "".join(inputs)
        spoken = "".join(texts(found))
        assert joined.startswith(spoken)
        assert not any(character.isalnum() for character in joined[len(spoken) :])
        assert all(
            len(release.text) <= longest for release in found if not release.text.isspace() and "<" not in joined
        )


class TestSplitter:
    @pytest.mark.parametrize(
        ("text", "first"),
        [
            ("Hello there. How", "Hello there. "),
            ("hello there. how", "hello there. "),
            ('He said "Stop!" Then', 'He said "Stop!" '),
            ("Really?! Yes", "Really?! "),
            ("Wait... what", "Wait... "),
            ("你好。我", "你好。"),
            ("नमस्ते। आप", "नमस्ते। "),
            ("كيف حالك؟ أنا", "كيف حالك؟ "),
            ("No. I", "No. "),
            ('One.<break time="1.5s"/> Two', "One."),
        ],
    )
    def test_ends(self, text, first):
        assert text[: sentences.cut_sentence(text, 0, 500)] == first

    @pytest.mark.parametrize(
        "text",
        [
            "Hello there.",
            "Hello there. ",
            "It is 3.14 now",
            "See example.com now",
            "See https://example.com/a.b?c!d now",
            "Dr. Smith",
            "J. Smith",
            "e.g. this",
            "and so on etc. and more",
            "1. First",
            "word",
            '<emotion value="so. What"/>well',
            "<spell>A. B",
        ],
    )
    def test_no_ends(self, text):
        assert sentences.cut_sentence(text, 0, 500) is None

    def test_graphemes_stay_whole(self):
        family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
        text = family * 3
        assert sentences.cut_anywhere(text, 0, 7) == 5
        assert sentences.cut_anywhere("e\u0301e\u0301", 0, 3) == 2

    def test_tags_stay_whole(self):
        assert sentences.cut_blank('one <break time="1s"/> two', 0, 15) == 4
        assert sentences.cut_blank("one two <break ti", 0, 17) == 8
