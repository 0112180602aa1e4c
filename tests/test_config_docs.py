"""The page about the server says what the settings are, and its sample file runs (docs/server.md)."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import trustme

from voxwire.cli import serve
from voxwire.cli.sources import Sources
from voxwire.server import ConfigurationError, Settings

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "server.md").read_text()
SAMPLE = ROOT / "docs" / "examples" / "serve.toml"
VOXWIRE = Path(sys.executable).parent / "voxwire"
PLURALS = {"api_key": "api_keys", "engine_option": "engine_options"}


def rows() -> dict[str, tuple[str, ...]]:
    """Key: flag, default, unit and range, meaning."""
    table = PAGE[PAGE.index("| key | flag |") :].split("\n\n", 1)[0]
    found = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines()[2:]]
    return {cells[0].strip("`"): cells[1:] for cells in found}


ROWS = rows()


def test_every_setting_is_documented() -> None:
    assert sorted(PLURALS.get(key, key) for key in ROWS) == sorted(Settings.model_fields)


def test_flags_are_those_of_the_command() -> None:
    flags = {option.name for option in serve.params if isinstance(option, click.Option)} - {"config"}
    assert {key for key, row in ROWS.items() if row[0] == "yes"} == flags


@pytest.mark.parametrize("key", ROWS)
def test_default(key: str) -> None:
    default = getattr(Settings(), PLURALS.get(key, key))
    documented = ROWS[key][1]
    if documented == "none":
        assert not default
    else:
        value = tomllib.loads(f"value = {documented.strip('`')}")["value"]
        assert default == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("key", [key for key, row in ROWS.items() if re.search(r"\d", row[2])])
def test_range(key: str) -> None:
    allowed = re.search(r"(over |at least )?(\d+)(?: to (\d+))?$", ROWS[key][2])
    assert allowed is not None
    kind, least, most = allowed.groups()
    smallest, largest = int(least), None if most is None else int(most)
    refused = [smallest] if kind == "over " else [smallest - 1]
    accepted = [] if kind == "over " else [smallest]
    if largest is not None:
        refused.append(largest + 1)
        accepted.append(largest)
    for value in accepted:
        assert getattr(Settings.make(**{key: value}), key) == value
    for value in refused:
        with pytest.raises(ConfigurationError, match=key):
            Settings.make(**{key: value})


def test_the_sample_has_every_key_and_the_defaults() -> None:
    sample = tomllib.loads(SAMPLE.read_text())
    assert sorted(sample) == sorted(ROWS)
    for key, value in sample.items():
        default = getattr(Settings(), PLURALS.get(key, key))
        if default not in (None, (), {}):
            assert value == default, key


def test_the_sample_runs(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    (tmp_path / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    process = subprocess.Popen(
        [VOXWIRE, "serve", "--config", SAMPLE, "--port", "0", "--tls-port", "0"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("VOXWIRE")},
        stdout=subprocess.PIPE,
    )
    try:
        announced = json.loads(process.stdout.readline())
        assert announced["wss"].startswith("wss://")
        import httpx

        trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        for base, verify in [(announced["http"], True), (announced["wss"].replace("wss:", "https:"), trusted)]:
            root = base.removesuffix("/tts/websocket")
            answer = httpx.get(
                f"{root}/voices/anna", headers={"X-API-Key": "replace-this-key"}, verify=verify, trust_env=False
            )
            assert answer.json()["id"] == "tone-3"
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def test_the_sample_is_read_without_a_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("chain.pem", "key.pem"):
        (tmp_path / name).touch()
    settings = Sources({}, SAMPLE, {}).read()
    assert settings.api_keys == ("replace-this-key",)
    assert settings.voices == {"anna": "tone-3"}
    assert settings.engine_options == {"delay_ms_per_word": "0"}
