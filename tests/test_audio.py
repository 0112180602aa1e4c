"""Formats, base64, transcoding and resampling through the binding."""

from __future__ import annotations

import array
import base64
import itertools
import math
import struct

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxwire.audio import (
    SAMPLE_RATES,
    SAMPLE_WIDTHS,
    AudioFormat,
    Resampler,
    decode_base64,
    encode_base64,
    transcode,
)

S16 = AudioFormat("pcm_s16le", 24000)
F32 = AudioFormat("pcm_f32le", 24000)


@given(st.binary(max_size=5000))
def test_base64_agrees_with_the_reference(data):
    text = base64.b64encode(data).decode()
    assert encode_base64(data) == text
    assert decode_base64(text) == data
    assert decode_base64(text.encode()) == data
    assert decode_base64(memoryview(bytearray(text.encode()))) == data


@given(st.binary(max_size=200).map(base64.b64encode), st.data())
def test_damaged_base64_is_refused_as_by_the_strict_reference(text, data):
    place = data.draw(st.integers(0, len(text)))
    damage = data.draw(st.sampled_from([b" ", b"\n", b"=", b"-", b"_", b"\0", b"\xe9", b"A", b""]))
    damaged = text[:place] + damage + text[place + 1 :]
    try:
        expected = pybase64.b64decode(damaged, validate=True)
    except ValueError:
        expected = None
    if expected is None or base64.b64encode(expected) != damaged:
        with pytest.raises(ValueError, match="base64"):
            decode_base64(damaged)
    else:
        assert decode_base64(damaged) == expected


def test_base64_of_every_length():
    for size in range(300):
        data = bytes(range(256)) * 2
        assert decode_base64(encode_base64(data[:size])) == data[:size]


@pytest.mark.parametrize("text", ["AA\u00e9=", "\u4e2d\u6587\u4e2d\u6587", "AAA\ud800"])
def test_text_beyond_ascii_is_no_base64(text):
    with pytest.raises(ValueError):
        decode_base64(text)


@pytest.mark.parametrize("wrong", [None, 5, ["A"], object()])
def test_what_is_no_buffer_is_a_type_error(wrong):
    with pytest.raises(TypeError):
        decode_base64(wrong)
    with pytest.raises(TypeError):
        encode_base64(wrong)
    with pytest.raises(TypeError):
        transcode(wrong, S16, F32)
    with pytest.raises(TypeError):
        Resampler(S16, S16).process(wrong)


def test_a_buffer_with_holes_is_a_buffer_error():
    with pytest.raises(BufferError):
        encode_base64(memoryview(b"abcdef")[::2])
    assert encode_base64(array.array("h", [1, -1])) == "AQD//w=="
    assert encode_base64(memoryview(b"abcdef").cast("B", (2, 3))) == "YWJjZGVm"


def test_results_are_plain_bytes_of_their_own():
    source = bytearray(b"AAECAw==")
    decoded = decode_base64(source)
    view = memoryview(decoded)
    source[:] = b"//////8="
    del decoded
    assert bytes(view) == b"\0\1\2\3"


def test_transcode_keeps_what_it_can():
    samples = array.array("h", range(-32768, 32768, 7)).tobytes()
    floats = transcode(samples, S16, F32)
    assert len(floats) == 2 * len(samples)
    assert transcode(floats, F32, S16) == samples
    assert transcode(b"", S16, F32) == b""
    loud = struct.pack("<4f", 2.0, -2.0, math.nan, 1.0)
    assert struct.unpack("<4h", transcode(loud, F32, S16))[:2] == (32767, -32768)


def decoded_mulaw(code):
    """ITU-T G.711, table 2a, scaled to 16 bits."""
    code ^= 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def decoded_alaw(code):
    """ITU-T G.711, table 1a, scaled to 16 bits."""
    code ^= 0x55
    segment, step = code >> 4 & 7, code & 0x0F
    magnitude = (step << 4) + 8 if segment == 0 else (step << 4) + 0x108 << segment - 1
    return magnitude if code & 0x80 else -magnitude


MULAW = [decoded_mulaw(code) for code in range(256)]
ALAW = [decoded_alaw(code) for code in range(256)]


def half_steps(code, encoding):
    """Half the distance between the decision values about a code; at such a value either neighbour will do."""
    if encoding == "pcm_mulaw":
        return 4 << (~code >> 4 & 7)
    return 8 << max((code ^ 0x55) >> 4 & 7, 1) - 1


def samples_of(data, encoding):
    if encoding == "pcm_mulaw":
        return [MULAW[code] for code in data]
    if encoding == "pcm_alaw":
        return [ALAW[code] for code in data]
    if encoding == "pcm_s16le":
        return list(struct.unpack(f"<{len(data) // 2}h", data))
    floats = struct.unpack(f"<{len(data) // 4}f", data)
    return [0 if math.isnan(value) else round(max(-32768, min(32767, value * 32768))) for value in floats]


@pytest.mark.parametrize(("source", "target"), list(itertools.product(SAMPLE_WIDTHS, repeat=2)))
@given(data=st.binary(max_size=400))
def test_transcoding_is_that_of_the_recommendation(source, target, data):
    data = data[: len(data) // SAMPLE_WIDTHS[source] * SAMPLE_WIDTHS[source]]
    out = transcode(memoryview(data), AudioFormat(source), AudioFormat(target))
    if source == target:
        assert out == data
        return
    expected = samples_of(data, source)
    heard = samples_of(out, target)
    assert len(out) == len(expected) * SAMPLE_WIDTHS[target]
    if target in {"pcm_s16le", "pcm_f32le"}:
        assert heard == expected
    else:
        loudest = 32635 if target == "pcm_mulaw" else 32767
        for code, value, sample in zip(out, heard, expected, strict=True):
            assert abs(value - max(-loudest, min(loudest, sample))) <= half_steps(code, target)


def test_transcode_refuses_cut_samples_and_other_rates():
    with pytest.raises(ValueError, match="byte"):
        transcode(b"abc", S16, F32)
    with pytest.raises(ValueError, match="Resampler"):
        transcode(b"", S16, AudioFormat("pcm_s16le", 8000))
    with pytest.raises(ValueError, match="Resampler"):
        transcode(b"", S16, AudioFormat("pcm_s16le", 24000, 2))


@pytest.mark.parametrize("wrong", [None, "pcm_s16le", (24000,)])
def test_what_is_no_format_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="AudioFormat"):
        transcode(b"", wrong, S16)
    with pytest.raises(TypeError, match="AudioFormat"):
        Resampler(S16, wrong)


def test_formats_know_their_frames():
    stereo = AudioFormat("pcm_f32le", 8000, 2)
    assert (stereo.frame_bytes, stereo.frames(17), stereo.duration_s(64000)) == (8, 2, 1.0)
    assert str(stereo) == "pcm_f32le at 8000 Hz, 2 channels"
    for wrong in (("mp3", 8000), ("pcm_alaw", 0), ("pcm_alaw", 768_001), ("pcm_alaw", 8000, 0)):
        with pytest.raises(ValueError, match=r"encoding|rate|channels"):
            AudioFormat(*wrong)


def sine(frames, rate, frequency_hz=1000):
    return array.array(
        "h", (round(20000 * math.sin(2 * math.pi * frequency_hz * at / rate)) for at in range(frames))
    ).tobytes()


@given(
    source=st.builds(AudioFormat, st.sampled_from(list(SAMPLE_WIDTHS)), st.sampled_from(SAMPLE_RATES)),
    target=st.builds(AudioFormat, st.sampled_from(list(SAMPLE_WIDTHS)), st.sampled_from(SAMPLE_RATES)),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
)
def test_resampling_does_not_depend_on_the_cuts(source, target, cuts):
    data = transcode(sine(2400, source.sample_rate), AudioFormat(), AudioFormat(source.encoding))
    whole = Resampler(source, target)
    expected = whole.process(data) + whole.finish()
    pieces = Resampler(source, target)
    places = sorted(min(source.frame_bytes * cut, len(data)) for cut in cuts)
    heard = b"".join(
        pieces.process(data[start:end]) for start, end in zip([0, *places], [*places, len(data)], strict=True)
    )
    assert heard + pieces.finish() == expected


def response(source_rate, target_rate, frequency_hz):
    """The level of a tone after resampling, and of all else, in decibels relative to it.

    A multiple of 50 Hz is periodic in 20 ms at every rate, so that a sum over 20 ms separates it from all else.
    """
    frames = source_rate // 50
    period = [math.cos(2 * math.pi * frequency_hz * at / source_rate) / 2 for at in range(frames)]
    resampler = Resampler(AudioFormat("pcm_f32le", source_rate), AudioFormat("pcm_f32le", target_rate))
    piece = struct.pack(f"<{frames}f", *period)
    out = b"".join(resampler.process(piece) for _ in range(6))
    frames = target_rate // 50
    heard = [2 * value for value in struct.unpack_from(f"<{frames}f", out, 4 * 3 * frames)]
    angles = [2 * math.pi * frequency_hz * at / target_rate for at in range(frames)]
    # A tone that the target cannot carry is all alias.
    carried = 2 * frequency_hz < target_rate
    cosine, sine = (
        2 * carried / frames * sum(value * of(angle) for value, angle in zip(heard, angles, strict=True))
        for of in (math.cos, math.sin)
    )
    rest = (
        value - cosine * math.cos(angle) - sine * math.sin(angle) for value, angle in zip(heard, angles, strict=True)
    )
    power = 2 / frames * sum(value * value for value in rest)
    return 20 * math.log10(math.hypot(cosine, sine) + 1e-12), 10 * math.log10(power + 1e-24)


@pytest.mark.parametrize(("source_rate", "target_rate"), list(itertools.permutations(SAMPLE_RATES, 2)))
def test_the_response_is_flat_and_rejects_aliases(source_rate, target_rate):
    nyquist_hz = min(source_rate, target_rate) / 2
    gain, _ = response(source_rate, target_rate, nyquist_hz * 0.9 // 50 * 50)
    assert abs(gain) < 0.01
    gain, noise = response(source_rate, target_rate, 1000)
    assert abs(gain) < 0.001
    assert noise < -130
    alias_hz = nyquist_hz * 1.25 // 50 * 50
    if 2 * alias_hz < source_rate:
        assert response(source_rate, target_rate, alias_hz)[1] < -130


@pytest.mark.parametrize(("rate", "frames"), [(8000, 800), (44100, 4410), (24000, 2400)])
def test_resampling_gives_the_exact_number_of_frames(rate, frames):
    resampler = Resampler(S16, AudioFormat("pcm_f32le", rate))
    out = resampler.process(sine(2400, 24000)) + resampler.finish()
    assert len(out) == 4 * frames
    peak = max(map(abs, struct.unpack(f"<{frames}f", out)))
    assert 0.5 < peak < 0.7
    assert repr(resampler) == f"<Resampler from pcm_s16le at 24000 Hz to pcm_f32le at {rate} Hz>"


def test_a_flush_gives_all_that_is_due_and_goes_on():
    resampler = Resampler(S16, AudioFormat("pcm_s16le", 8000))
    data = sine(2400, 24000)
    heard = resampler.process(data[:1200]) + resampler.flush()
    assert len(heard) == 400
    heard += resampler.process(data[1200:]) + resampler.finish()
    assert len(heard) == len(data) // 3


def test_a_resampler_refuses_other_channels_and_cut_frames():
    with pytest.raises(ValueError, match="channels"):
        Resampler(S16, AudioFormat("pcm_s16le", 8000, 2))
    resampler = Resampler(S16, AudioFormat("pcm_s16le", 8000))
    with pytest.raises(ValueError, match="byte"):
        resampler.process(b"abc")


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"encoding": "pcm_s24le"}, ValueError, "pcm_s16le"),
        ({"sample_rate": 0}, ValueError, "1 to 768000"),
        ({"channels": 9}, ValueError, "1 to 8"),
        ({"sample_rate": "8000"}, TypeError, "sample_rate must be of type int, not str"),
        ({"sample_rate": 8000.0}, TypeError, "not float"),
        ({"channels": True}, TypeError, "not bool"),
        ({"encoding": None}, TypeError, "not NoneType"),
    ],
)
def test_a_format_that_cannot_be_is_refused(values, error, words) -> None:
    with pytest.raises(error, match=words):
        AudioFormat(**values)


@pytest.mark.parametrize("rate", [8000, 24000, 48000])
@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"])
def test_a_gain_is_exact_in_decibels(encoding, rate):
    def level(gain):
        target = AudioFormat(encoding, rate)
        resampler = Resampler(S16, target)
        quarter = array.array("h", (sample // 4 for sample in array.array("h", sine(24000, 24000, 997))))
        out = resampler.process(quarter.tobytes(), gain) + resampler.finish()
        samples = struct.unpack(f"<{rate}f", transcode(out, target, AudioFormat("pcm_f32le", rate)))
        return 20 * math.log10(math.sqrt(sum(sample * sample for sample in samples) / rate))

    normal = level(1.0)
    for gain in (0.5, 0.75, 1.5, 2.0):
        assert level(gain) - normal == pytest.approx(20 * math.log10(gain), abs=0.05)


def test_a_gain_saturates_and_a_gain_of_one_changes_no_bit():
    samples = array.array("h", [0, 1, -1, 3, -3, 1000, 20_000, -20_000, 32_767, -32_768])
    resampler = Resampler(S16, S16)
    assert resampler.process(samples.tobytes(), 1.0) == samples.tobytes()
    assert array.array("h", resampler.process(samples.tobytes(), gain=2)).tolist() == [
        0, 2, -2, 6, -6, 2000, 32_767, -32_768, 32_767, -32_768
    ]  # fmt: skip
    assert array.array("h", resampler.process(samples.tobytes(), 0.5)).tolist() == [
        round(sample * 0.5) for sample in samples
    ]
    assert not any(resampler.process(samples.tobytes(), 0))
    loud = struct.pack("<3f", 0.9, -0.9, 0.25)
    assert struct.unpack("<3f", Resampler(F32, F32).process(loud, 2.0)) == (1.0, -1.0, 0.5)


@pytest.mark.parametrize("wrong", [-0.5, math.nan, math.inf])
def test_a_gain_that_is_none_is_refused_and_takes_nothing(wrong):
    resampler = Resampler(S16, AudioFormat("pcm_s16le", 8000))
    with pytest.raises(ValueError, match="gain must be a finite number of at least 0"):
        resampler.process(sine(2400, 24000), wrong)
    assert resampler.finish() == b""
