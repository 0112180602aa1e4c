"""The tree of errors: what each is, what it says, how it travels."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import voxwire
from voxwire import exceptions
from voxwire.exceptions import VoxwireError, refusal

CLASSES = [value for value in vars(exceptions).values() if inspect.isclass(value) and issubclass(value, VoxwireError)]


def test_the_tree_is_the_documented_one() -> None:
    # Each line of the tree in the module's own text, with its depth.
    parents: dict[str, str] = {}
    above = ["VoxwireError"]
    for line in (exceptions.__doc__ or "").splitlines():
        mark = line.find("├── ") if "├── " in line else line.find("└── ")
        if mark >= 0:
            depth = mark // 4
            names = [name for name in line[mark + 4 :].split("  ")[0].split(" · ") if name.isidentifier()]
            for name in names:
                parents[name] = above[depth - 1]
            above[depth:] = names[:1]
    assert parents == {kind.__name__: kind.__base__.__name__ for kind in CLASSES if kind is not VoxwireError}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_public_and_none_is_a_built_in_one(kind: type[VoxwireError]) -> None:
    assert getattr(voxwire, kind.__name__) is kind
    assert not issubclass(kind, (TimeoutError, OSError, ValueError, RuntimeError))
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_keeps_its_attributes_when_copied_and_pickled(kind: type[VoxwireError]) -> None:
    error = kind("it broke", code="c", status=418, retryable=True, context_id="x", request_id="r", record=[1])
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert vars(twin) == vars(error)
        assert str(twin) == str(error) == "it broke (418, c)"
        assert twin.args == ("it broke",)
    plain = kind("it broke")
    assert (plain.code, plain.retryable) == (kind.default_code, kind.default_retryable)
    assert (plain.status, plain.context_id, plain.request_id, plain.record) == (None, None, None, None)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, voxwire.InvalidRequest, False),
        (401, voxwire.AuthenticationError, False),
        (402, voxwire.PermissionDenied, False),
        (403, voxwire.PermissionDenied, False),
        (404, voxwire.NotFound, False),
        (410, voxwire.InvalidRequest, False),
        (426, voxwire.InvalidRequest, False),
        (429, voxwire.RateLimited, True),
        (500, voxwire.ServerError, True),
        (503, voxwire.ServerError, True),
    ],
)
def test_a_refusal_is_typed_by_its_status(status: int, kind: type[VoxwireError], *, retryable: bool) -> None:
    error = refusal(status, "no", retry_after_s=2.5, code="c")
    assert type(error) is kind
    assert (error.status, error.code, error.retryable) == (status, "c", retryable)
    assert getattr(error, "retry_after_s", 2.5) == 2.5
