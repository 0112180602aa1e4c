"""The blocking face of an opened sink."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import pytest

import voxwire.sync

if TYPE_CHECKING:
    from pathlib import Path

TONE = {"voice": "tone-1", "output_format": voxwire.AudioFormat("pcm_s16le", 8000)}


def test_plays_follow_one_another_in_one_output() -> None:
    with voxwire.sync.Client("embedded:tone") as client, voxwire.sync.open_sink("null:") as line:
        assert line.format is None
        with client.context("Hello world.", **TONE) as context:
            heard = context.play(line).wait()
        assert heard.text == "Hello world."
        assert line.format == TONE["output_format"]
        record = client.say("Again.", sink=line, **TONE)
        assert record.outcome == "finished"
        assert type(line.sink).__name__ == "NullSink"


@pytest.mark.parametrize("outer", ["sink", "client"])
def test_a_file_is_whole_whoever_is_left_first(tmp_path: Path, outer: str) -> None:
    target = tmp_path / "out.wav"
    line = voxwire.sync.open_sink(f"file:{target}")
    client = voxwire.sync.Client("embedded:tone")
    first, second = (line, client) if outer == "sink" else (client, line)
    with first, second:
        record = client.say("Hello world.", sink=line, **TONE)
    with wave.open(str(target)) as written:
        assert written.getnframes() == round(record.audio_s * written.getframerate()) > 0


def test_an_output_that_nothing_was_played_into_is_left_without_a_loop() -> None:
    with voxwire.sync.open_sink("null:") as line:
        assert line.format is None


def test_misuse_is_named() -> None:
    line = voxwire.sync.open_sink("null:")
    with voxwire.sync.Client("embedded:tone") as client:
        with pytest.raises(RuntimeError, match="outside its block"):
            client.say("Hello.", sink=line, **TONE)
        with line:
            client.say("Hello.", sink=line, **TONE)
            with (
                voxwire.sync.Client("embedded:tone") as other,
                pytest.raises(RuntimeError, match="another client"),
            ):
                other.say("Hello.", sink=line, **TONE)
        with pytest.raises(RuntimeError, match="entered before"), line:
            pass
        with pytest.raises(RuntimeError, match="outside its block"):
            client.say("Hello.", sink=line, **TONE)
    with pytest.raises(ValueError, match="prebuffer_ms"):
        voxwire.sync.open_sink("null:", prebuffer_ms=-1)
