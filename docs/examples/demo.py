"""Speaks a sentence into ``hello.wav`` with the embedded server, and tells what happened.

The last line is JSON: file, duration_s, first_audio_ms, words as [word, start_s, end_s].
"""

from __future__ import annotations

import orjson
import uvloop

import voxwire

SENTENCE = "Hello! This is voxwire, carrying speech from a socket to where it is heard."
FILE = "hello.wav"


async def main() -> None:
    async with voxwire.Client("embedded:espeak") as client:
        await client.connect()
        record = await client.say(SENTENCE, sink=f"file:{FILE}")
    first_audio_ms = round((record.first_audio_s or 0.0) * 1000, 1)
    print(f"spoke    {SENTENCE}")
    print(f"into     {FILE}, {record.audio_s:.2f} s of sound")
    print(f"started  {first_audio_ms:.0f} ms after the text was sent")
    words = [[word.text, round(word.start_s, 4), round(word.end_s, 4)] for word in record.words]
    result = {"file": FILE, "duration_s": record.audio_s, "first_audio_ms": first_audio_ms, "words": words}
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    uvloop.run(main())
