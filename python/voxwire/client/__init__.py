"""The client: one connection, many contexts; text in, audio and word times out.

| file | what stands there |
|---|---|
| `client` | the door: `Client` |
| `context` | one turn as its user sees it: `Context`; its `options` |
| `playable` | the same as its playback sees it |
| `stream` | what comes and the one end; its `events`, word spans (`alignment`) and `record` |
| `feeding` | text sources: strings, iterators, going on with a fresh context |
| `wire` | what a context sends and gets, over whichever connection serves it |
| `fleet` | connections: placing, retiring, admission; `dialing` opens them, `backoff` paces the attempts |
| `target`, `settings`, `refusals`, `voices` | where to, with which limits, what a refusal means, who can speak |
"""

from voxwire.client.client import Client
from voxwire.client.context import Context
from voxwire.client.record import Record

__all__ = ["Client", "Context", "Record"]
