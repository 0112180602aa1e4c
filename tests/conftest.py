"""What more than one test file needs."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(__file__).parent / "vectors"

# The machine may be busy: how long one example takes says nothing about the code.
settings.register_profile("voxwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("voxwire")


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Iterator[dict[str, Any]]]:
    """Reads what both languages must agree on: one JSON object a line."""

    def read(name: str) -> Iterator[dict[str, Any]]:
        lines = (VECTORS / name).read_text(encoding="utf-8").splitlines()
        assert lines
        yield from map(json.loads, lines)

    return read


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[dict[str, Any], ssl.SSLContext]:
    """Settings of a TLS listener, and what a client trusts."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return {"tls_cert": str(chain), "tls_key": str(key), "tls_port": 0}, trusting
