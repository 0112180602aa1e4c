from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxwire.client.events import Word
from voxwire.playback.heard import Certainty, join_heard, sentence_end, word_end

EXACT = Certainty("sent", 0.0)
TEXT = "Hello, wide world. Bye now."
WORDS = [
    Word("Hello,", 0.0, 0.5, (0, 6)),
    Word("wide", 0.5, 0.8, (7, 11)),
    Word("world.", 0.8, 1.2, (12, 18)),
    Word("Bye", 1.5, 1.8, (19, 22)),
    Word("now.", 1.8, 2.2, (23, 27)),
]


@pytest.mark.parametrize(
    ("played_s", "text", "heard", "half_heard"),
    [
        (0.0, "", 0, 0),
        (0.2, "", 0, 1),
        (0.5, "Hello,", 1, 0),
        (0.65, "Hello,", 1, 1),
        (0.8, "Hello, wide", 2, 0),
        (1.3, "Hello, wide world.", 3, 0),
        (2.2, TEXT, 5, 0),
        (99.0, TEXT, 5, 0),
    ],
)
def test_words_are_divided_by_the_position(played_s, text, heard, half_heard):
    result = join_heard(TEXT, WORDS, played_s, EXACT)
    assert result.text == text
    assert result.text + result.rest == TEXT
    assert result.heard == tuple(WORDS[:heard])
    assert result.half_heard == tuple(WORDS[heard : heard + half_heard])
    assert result.unheard == tuple(WORDS[heard + half_heard :])
    assert (result.played_s, result.certainty) == (played_s, EXACT)


def test_rest_begins_with_the_blank():
    assert join_heard(TEXT, WORDS, 0.5, EXACT).rest == " wide world. Bye now."


def test_without_words_nothing_is_claimed():
    result = join_heard(TEXT, [], 5.0, EXACT)
    assert (result.text, result.rest, result.heard, result.unheard) == ("", TEXT, (), ())


def test_words_whose_times_never_came_are_in_none():
    result = join_heard(TEXT, WORDS[:2], 9.0, EXACT)
    assert result.text == "Hello, wide"
    assert result.rest == " world. Bye now."
    assert result.heard == tuple(WORDS[:2])


@pytest.mark.parametrize(
    ("played_s", "complete", "text"),
    [
        (0.5, True, "I"),
        (1.0, True, "I owe"),
        (1.5, True, "I owe"),  # half of a number cannot be cut out of the text
        (2.0, True, "I owe 24"),
        (2.5, True, "I owe 24 dollars"),
        (3.0, False, "I owe 24 dollars"),
        (3.0, True, "I owe 24 dollars 5"),
    ],
)
def test_normalised_words_take_the_text_between_their_neighbours(played_s, complete, text):
    pushed = "I owe 24 dollars 5 "
    words = [
        Word("I", 0.0, 0.5, (0, 1)),
        Word("owe", 0.5, 1.0, (2, 5)),
        Word("twenty", 1.0, 1.5),
        Word("four", 1.5, 2.0),
        Word("dollars", 2.0, 2.5, (9, 16)),
        Word("five", 2.5, 3.0),
    ]
    result = join_heard(pushed, words, played_s, EXACT, complete=complete)
    assert result.text == text
    assert result.text + result.rest == pushed


times = st.lists(st.floats(0, 100, allow_nan=False), min_size=2, max_size=40).map(sorted)


@given(times, st.floats(0, 110, allow_nan=False), st.lists(st.booleans(), min_size=40, max_size=40), st.booleans())
def test_nothing_is_lost_and_the_parts_are_in_order(edges, played_s, spanned, complete):
    names = [f"w{index}" for index in range(len(edges) - 1)]
    text = " ".join(names) + " "
    words, at = [], 0
    for index, name in enumerate(names):
        span = (at, at + len(name)) if spanned[index] else None
        words.append(Word(name, edges[index], edges[index + 1], span))
        at += len(name) + 1
    result = join_heard(text, words, played_s, EXACT, complete=complete)
    assert result.text + result.rest == text
    assert sorted([*result.heard, *result.half_heard, *result.unheard], key=words.index) == words
    assert all(word.end_s <= played_s for word in result.heard)
    assert all(word.start_s < played_s < word.end_s for word in result.half_heard)
    assert all(word.start_s >= played_s for word in result.unheard)
    if result.heard and result.heard[-1].span is not None:
        assert len(result.text) == result.heard[-1].span[1]


@pytest.mark.parametrize(("played_s", "end_s"), [(0.0, 0.0), (0.2, 0.5), (0.5, 0.5), (1.3, 1.3), (2.0, 2.2)])
def test_word_end(played_s, end_s):
    assert word_end(WORDS, played_s) == end_s


@pytest.mark.parametrize(
    ("played_s", "end_s"), [(0.0, 0.0), (0.2, 1.2), (1.2, 1.2), (1.3, 1.3), (1.6, 2.2), (3.0, 3.0)]
)
def test_sentence_end(played_s, end_s):
    assert sentence_end(WORDS, played_s) == end_s


def test_sentence_end_is_unknown_until_its_word_came():
    assert sentence_end(WORDS[:2], 0.2) is None
    assert sentence_end([Word("\u3042", 0.0, 0.1), Word("\u3002", 0.1, 0.2)], 0.05) == 0.2
    assert sentence_end([Word('stop."', 0.0, 0.1)], 0.05) == 0.1
