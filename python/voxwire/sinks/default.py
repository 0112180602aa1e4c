"""The sink that is used where nobody names one."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from voxwire import plugins
from voxwire.exceptions import PluginError, SinkError
from voxwire.guard import Blocked, Outcome, call_once
from voxwire.sinks.contract import Probe

__all__ = ["default_address"]

_ADVICE = "pass a sink such as file:out.wav"
_PATIENCE_S = 5.0

_logger = logging.getLogger(__name__)


def default_address() -> str:
    """Returns the address of the default sound device: the first installed sink that has one and is usable here.

    Raises:
        PluginError: No installed sink plays to a sound device; the message names what to install.
        SinkError: One does, but it cannot be used here; the message says why.
    """
    reasons = []
    for name in dict.fromkeys(info.name for info in plugins.sinks()):
        try:
            outcome = call_once(partial(_probe, name), _PATIENCE_S, f"probe sink {name}")
        except Blocked:
            outcome = Outcome(None, SinkError(f"no answer within {_PATIENCE_S:g} s"))
        if outcome.error is not None:
            # A broken plugin must not keep a good one from being found.
            _logger.warning("sink %r was passed over: %s", name, outcome.error)
            continue
        probe = outcome.result
        if not isinstance(probe, Probe) or probe.address is None:
            continue
        if probe.usable:
            return probe.address
        reasons.append(f"{name}: {probe.reason}")
    if reasons:
        raise SinkError(f"no usable sound device ({'; '.join(reasons)}), {_ADVICE}")
    raise PluginError(f"no sink for a sound device is installed, try: pip install voxwire-alsa, or {_ADVICE}")


def _probe(name: str) -> Any:
    return plugins.load(plugins.SINKS, name).probe()
