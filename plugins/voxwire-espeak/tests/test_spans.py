# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: RUF001 - IPA looks like other letters
"""From events to times, without the library."""

from __future__ import annotations

from voxwire_espeak.library import END, PHONEME, WORD, clean
from voxwire_espeak.spans import SpanBuilder, tokenize


def spans(text, events, end, *, per_char=False, last_audible=None):
    builder = SpanBuilder(tokenize(text, per_char=per_char), lambda start, end: last_audible)
    words, phonemes = [], []
    for event in events:
        builder.handle([event])
        more_words, more_phonemes = builder.take()
        words += more_words
        phonemes += more_phonemes
    builder.finish(end)
    more_words, more_phonemes = builder.take()
    return words + more_words, phonemes + more_phonemes


def word(position, sample=0):
    return (WORD, position, sample, b"")


def phoneme(name, sample):
    return (PHONEME, 0, sample, name.encode())


def test_tokens_are_words_as_given():
    assert tokenize("Hi, - it's 50% ... \U0001f600!", per_char=False) == [
        ("Hi,", 0, 3),
        ("it's", 6, 10),
        ("50%", 11, 14),
        ("\U0001f600!", 19, 21),
    ]


def test_tokens_are_characters_where_that_is_the_way():
    assert tokenize("你 好。", per_char=True) == [("你", 0, 1), ("好", 2, 3), ("。", 3, 4)]


def test_a_word_begins_with_its_first_phoneme_and_ends_with_the_next_word():
    words, phonemes = spans("ab cd", [word(1), phoneme("ˈa", 10), word(4, 50), phoneme("c", 60)], 100)
    assert words == [("ab", 10, 60), ("cd", 60, 100)]
    assert phonemes == [("a", 10, 60), ("c", 60, 100)]


def test_the_last_word_ends_with_its_sound():
    events = [word(1), phoneme("a", 10), word(4, 50), phoneme("c", 60), phoneme("", 80)]
    for audible in (75, 95):
        assert spans("ab cd", events, 100, last_audible=audible)[0] == [("ab", 10, 60), ("cd", 60, audible)]
    assert spans("ab cd ef", events, 100, last_audible=90)[0] == [("ab", 10, 60), ("cd", 60, 75), ("ef", 75, 90)]
    assert spans("ab cd", events, 100)[0] == [("ab", 10, 60), ("cd", 60, 80)], "a whisper too low to be heard"


def test_a_word_ends_where_silence_begins():
    events = [word(1), phoneme("a", 10), phoneme("", 40), phoneme("(en)", 45), word(4), phoneme("c", 60)]
    words, phonemes = spans("ab cd", events, 100)
    assert words == [("ab", 10, 40), ("cd", 60, 100)]
    assert phonemes == [("a", 10, 40), ("c", 60, 100)]


def test_the_end_of_a_clause_ends_its_word():
    events = [word(1), phoneme("a", 10), phoneme("", 40), (END, 0, 50, b""), phoneme("", 55), word(5), phoneme("c", 60)]
    assert spans("ab. cd", events, 100)[0] == [("ab.", 10, 40), ("cd", 60, 100)]


def test_several_events_of_one_token_make_one_span():
    events = [word(1), phoneme("f", 10), phoneme("", 30), (END, 0, 35, b""), word(3), phoneme("d", 40)]
    assert spans("42.", events, 90)[0] == [("42.", 10, 90)]


def test_words_without_events_share_by_length():
    events = [word(1), phoneme("a", 0), word(11), phoneme("d", 80)]
    assert spans("aa bbbb cc d", events, 100)[0] == [("aa", 0, 20), ("bbbb", 20, 60), ("cc", 60, 80), ("d", 80, 100)]


def test_words_before_the_first_event_are_told():
    assert spans("aa bb cc", [word(7), phoneme("c", 30)], 60)[0] == [("aa", 30, 40), ("bb", 40, 50), ("cc", 50, 60)]


def test_words_that_made_no_sound_at_all_are_told():
    assert spans("aa bb", [], 60)[0] == [("aa", 0, 30), ("bb", 30, 60)]
    assert spans("", [word(1), phoneme("a", 3)], 60) == ([], [("a", 3, 60)])


def test_positions_behind_the_text_belong_to_its_last_word():
    assert spans("aa bb", [word(1), phoneme("a", 0), word(99), phoneme("b", 30)], 60)[0] == [
        ("aa", 0, 30),
        ("bb", 30, 60),
    ]


def test_a_name_cut_within_a_character_is_read_as_far_as_it_goes():
    assert spans("a", [word(1), (PHONEME, 0, 5, "aɪ".encode()[:-1])], 9)[1] == [("a", 5, 9)]


def test_commands_are_taken_out_and_joiners_stay():
    assert clean("a\x01b\x7fc\x85d\ud800e\n\u200df") == "a b c d e\n\u200df"
