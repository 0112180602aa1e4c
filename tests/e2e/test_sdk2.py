"""The service's second Python SDK (version 2024-11-13), unchanged and in an environment of its own."""

from __future__ import annotations

import base64
import json
import selectors
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from interop import KEY, SENTENCE, ServerThread, spoken

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = Path(sys.prefix) / "sdk2" / "bin" / "python"
ANSWER_TIMEOUT_S = 40.0
EMBEDDING = {"mode": "embedding", "embedding": [0.1] * 192}


class Worker:
    """The process with the SDK: takes orders, one at a time."""

    def __enter__(self) -> Self:
        assert PYTHON.exists(), f"there is no {PYTHON}: `make .venv/stamps/sdk2` makes it"
        script = Path(__file__).parent / "sdk2" / "worker.py"
        self._process = subprocess.Popen(
            [PYTHON, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        try:
            _, complaints = self._process.communicate(timeout=ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        # Nothing in the SDK died unseen: neither its listener nor a socket.
        assert "exception was never retrieved" not in complaints, complaints

    def run(self, scenario: str, url: str, **order: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"scenario": scenario, "url": url, "key": KEY, **order}) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            assert selector.select(ANSWER_TIMEOUT_S), "the worker does not answer"
        line = self._process.stdout.readline()
        assert line, "the worker ended"
        return json.loads(line)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ServerThread(engine_options={"fail_on": "boom"}, context_expiry_s=30) as running:
        yield running.url


@pytest.fixture(params=["blocking", "asynchronous"])
def side(request: pytest.FixtureRequest) -> str:
    return request.param


def pcm(result: dict[str, Any]) -> bytes:
    assert "raised" not in result, result
    return base64.b64decode(result["audio"])


def tuples(items: list[list[Any]]) -> list[tuple[Any, ...]]:
    return [tuple(item) for item in items]


@pytest.mark.parametrize("scenario", ["whole", "stream"])
def test_a_sentence_with_all_times(worker, url, side, scenario):
    options = {"add_timestamps": True, "add_phoneme_timestamps": True}
    result = worker.run(f"{side}_{scenario}", url, text=SENTENCE, options=options)
    expected = spoken(SENTENCE)
    assert pcm(result) == expected.pcm
    assert tuples(result["words"]) == expected.words
    assert tuples(result["phonemes"]) == expected.phonemes


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_localhost_base_is_plain(worker, url, side, prefix):
    base = url.replace("ws://127.0.0.1", "http://localhost") + prefix
    assert pcm(worker.run(f"{side}_stream", base, text="Hello there.")) == spoken("Hello there.").pcm


def test_continuation(worker, url, side):
    texts = [f"{word} " for word in SENTENCE.split()]
    result = worker.run(
        f"{side}_continuation", url, texts=texts, context_id="my own id", options={"add_timestamps": True}
    )
    assert pcm(result) == spoken(SENTENCE).pcm
    assert tuples(result["words"]) == spoken(SENTENCE).words
    assert result["ids"] == ["my own id"]


def test_continuation_with_the_old_options(worker, url, side):
    options = {
        "max_buffer_delay_ms": 100,
        "duration": 20,
        "language": "en",
        "use_original_timestamps": True,
        "generation_config": {"speed": 1.5},
        "model_id": "sonic-3",
    }
    result = worker.run(f"{side}_continuation", url, texts=["Hello, ", "world."], options=options)
    assert pcm(result) == spoken([("Hello, world.", 1.5)]).pcm


def test_a_voice_by_its_embedding(worker, url, side):
    result = worker.run(f"{side}_stream", url, text="Hello there.", options={"voice": EMBEDDING})
    assert pcm(result) == spoken("Hello there.").pcm


def test_the_default_format_of_old(worker, url, side):
    options = {"output_format": {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100}}
    result = worker.run(f"{side}_continuation", url, texts=["Hello ", "there."], options=options)
    assert len(pcm(result)) == pytest.approx(len(spoken("Hello there.").pcm) * 2 * 44_100 / 24_000, abs=8)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"model_id": "no-such-model"}, "model"),
        ({"model_id": ""}, "model"),
        ({"voice": {"mode": "id", "id": ""}}, "voice"),
        ({"voice": {"mode": "id", "id": "nobody"}}, "voice"),
        ({"output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 40}}, "sample_rate"),
        ({"generation_config": {"speed": 1.6}}, "speed"),
    ],
)
def test_an_error_is_raised_with_its_text(worker, url, side, wrong, reason):
    result = worker.run(f"{side}_failure_and_again", url, text="Hello there.", wrong=wrong)
    assert reason in result["failure"]
    assert "None" not in result["failure"]
    assert pcm(result) == spoken("Hello there.").pcm


def test_an_error_in_mid_speech(worker, url, side):
    raised, text = worker.run(f"{side}_stream", url, text="One boom two.")["raised"]
    assert raised == "RuntimeError"
    assert "told to fail" in text


def test_an_empty_transcript(worker, url, side):
    raised, text = worker.run(f"{side}_stream", url, text="...")["raised"]
    assert raised == "RuntimeError"
    assert "transcript empty or contains only punctuation: first transcript for WS is empty" in text


def test_a_wrong_key(worker, url, side):
    raised, text = worker.run(f"{side}_stream", url, key="wrong", text="Hello.")["raised"]
    assert raised == "RuntimeError"
    assert "401" in text


def test_contexts_one_after_another(worker, url):
    texts = [f"Context {word}." for word in ("one", "two", "three")]
    results = worker.run("blocking_one_after_another", url, texts=texts)
    assert [pcm(result) for result in results] == [spoken(text).pcm for text in texts]


def test_many_contexts_at_once(worker, url):
    texts = [f"This is context {'abcdefgh'[number % 8] * (1 + number // 8)} of all." for number in range(56)]
    results = worker.run("asynchronous_many", url, texts=texts)
    assert [pcm(result) for result in results] == [spoken(text).pcm for text in texts]
    assert len({result["ids"][0] for result in results}) == 56


@pytest.mark.parametrize("after_audio", [False, True])
def test_cancel(worker, after_audio):
    with ServerThread(concurrency=1, queue_wait_s=10) as running:
        result = worker.run("asynchronous_cancel", running.url, after_audio=after_audio, text="Hello there.")
        assert pcm(result) == spoken("Hello there.").pcm


@pytest.mark.parametrize("texts", [["One two ", "three."], ["One ", "two ", "three ", "four."]])
def test_flush_with_the_plain_receive(worker, url, texts):
    # Text without the end of a sentence waits for its flush, so no audio is older than the queue it is read from.
    result = worker.run("asynchronous_flush", url, texts=texts, options={"add_timestamps": True})
    assert pcm(result)[-len(spoken(texts[-1]).pcm) :] == spoken(texts[-1]).pcm
    assert [word for word, _, _ in result["words"]][-1] == texts[-1].strip()
    if len(texts) == 2:
        assert pcm(result) == spoken("".join(texts)).pcm
        assert tuples(result["words"]) == spoken("".join(texts)).words


def test_flush_in_the_request_of_a_text(worker, url):
    result = worker.run("asynchronous_flush_in_the_request", url, texts=["One two. ", "Three."])
    assert pcm(result) == spoken("One two. Three.").pcm


def test_expiry_is_a_normal_end(worker):
    with ServerThread(context_expiry_s=0.05) as running:
        assert pcm(worker.run("asynchronous_expiry", running.url, text="Hello.")) == spoken("Hello.").pcm


@pytest.mark.parametrize("scenario", ["blocking_stop_in_the_middle", "asynchronous_close_in_the_middle"])
def test_the_client_closes_in_mid_speech(worker, scenario):
    with ServerThread(concurrency=1, queue_wait_s=10, engine_options={"delay_ms_per_word": "20"}) as running:
        assert pcm(worker.run(scenario, running.url, text="Hello there.")) == spoken("Hello there.").pcm


def test_the_server_ends_in_mid_speech(worker):
    with ServerThread(engine_options={"delay_ms_per_word": "20"}) as running:
        assert worker.run("asynchronous_until_the_server_ends", running.url) == {"begun": True}
        running.shut_down()
        raised, text = worker.answer()["raised"]
        assert raised == "RuntimeError"
        assert "Shutting down" in text
