"""The client: one connection, many contexts."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from typing import TYPE_CHECKING, Any, Self

from voxwire.client.context import Context
from voxwire.client.dialing import GivenSocket, UrlDialer
from voxwire.client.feeding import check_text
from voxwire.client.fleet import Admission, Fleet
from voxwire.client.options import ContextOptions
from voxwire.client.settings import Settings
from voxwire.client.target import Target
from voxwire.client.voices import Voices
from voxwire.client.wire import Services
from voxwire.protocol import TlsContext

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from voxwire.client.dialing import Dialer
    from voxwire.client.feeding import Text
    from voxwire.client.record import Record
    from voxwire.playback import Output

__all__ = ["Client"]

# The version that this client was written for (protocol.md 13): no server's table of versions decides it.
_DEFAULT_VERSION = "2026-03-01"


class Client:
    """Speaks through one server, over one connection that many contexts share.

    Used as ``async with``, in one event loop. The connection is opened at the first need, or early by :meth:`connect`;
    one that ended is opened anew at the next need.

    Args:
        url: A base, whose path prefix is kept, or the full address up to ``/tts/websocket``; ``ws``, ``wss``, ``http``
            or ``https``; ``embedded:`` or ``embedded:ENGINE`` for a server in this process. None takes
            ``VOXWIRE_URL``, else ``embedded:``. Without TLS a bit that a network flips inside valid base64 is seen by
            nobody: true audio needs ``wss``.
        api_key: Sent as ``X-API-Key``. None takes ``VOXWIRE_API_KEY`` and, towards ``*.cartesia.ai`` over TLS alone,
            ``CARTESIA_API_KEY``.
        access_token: Sent as ``Authorization: Bearer``.
        version: The protocol's version, a date like ``2026-03-01``.
        ssl_context: For TLS, in the core: whom to trust, and the certificate to show; None for the platform's roots. An
            ``ssl.SSLContext`` is spoken by Python instead, which is slower.
        max_contexts: Contexts at one time; None for no limit. Others wait for a place.
        admission_timeout_s: Longest wait for a place.
        connect_timeout_s: Longest time to open the connection, all retries included.
        inactivity_timeout_s: Longest silence of a context that is owed something; None for no limit.
        ping_interval_s: Seconds between our pings; None for none.
        ping_timeout_s: Seconds to wait for a pong.
        close_timeout_s: Longest wait of closing, cancelling and leaving.
        max_buffered_bytes: Bound of what waits for the consumer of one context.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An invalid URL, a key without a URL, a secret that no header may carry, a version that is no date, a
            number out of range.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        access_token: str | None = None,
        version: str = _DEFAULT_VERSION,
        ssl_context: ssl.SSLContext | TlsContext | None = None,
        max_contexts: int | None = None,
        admission_timeout_s: float = 30,
        connect_timeout_s: float = 10,
        inactivity_timeout_s: float | None = 10,
        ping_interval_s: float | None = 20,
        ping_timeout_s: float = 20,
        close_timeout_s: float = 2,
        max_buffered_bytes: int = 67_108_864,
    ) -> None:
        if not isinstance(ssl_context, ssl.SSLContext | TlsContext | None):
            raise TypeError(f"ssl_context must be a TlsContext or an ssl.SSLContext, not {type(ssl_context).__name__}")
        target = Target.resolve(url, api_key=api_key, access_token=access_token, version=version)
        settings = Settings(
            max_contexts=max_contexts,
            admission_timeout_s=admission_timeout_s,
            connect_timeout_s=connect_timeout_s,
            inactivity_timeout_s=inactivity_timeout_s,
            ping_interval_s=ping_interval_s,
            ping_timeout_s=ping_timeout_s,
            close_timeout_s=close_timeout_s,
            max_buffered_bytes=max_buffered_bytes,
        )
        self._set_up(UrlDialer(target, ssl_context), target, settings)

    @classmethod
    def over_socket(cls, sock: socket.socket, *, default_voice: str | None = None, **settings: Any) -> Self:
        """Returns a client that speaks over a connected stream socket, without an HTTP upgrade.

        Args:
            sock: One end of a socketpair; the client closes it.
            default_voice: Voice of contexts that name none.
            **settings: ``max_contexts``, ``max_buffered_bytes`` and those of the constructor in ``_s``.
        """
        client = cls.__new__(cls)
        client._set_up(GivenSocket(sock), Target(None, None, (), ()), Settings(**settings), default_voice)  # noqa: SLF001
        return client

    def _set_up(self, dialer: Dialer, target: Target, settings: Settings, default_voice: str | None = None) -> None:
        self._target = target
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._contexts: set[Context] = set()
        # Nothing of these knows the client: one that is dropped is freed, and warned about, at once.
        self._fleet = Fleet(dialer, mask=target.mask, settings=settings)
        self._voices = Voices(dialer, target, settings.connect_timeout_s, default_voice)
        self._services = Services(
            fleet=self._fleet,
            admission=Admission(settings.max_contexts, settings.admission_timeout_s),
            default_voice=self._voices.default,
            mask=target.mask,
            max_buffered_bytes=settings.max_buffered_bytes,
            close_timeout_s=settings.close_timeout_s,
        )

    def __repr__(self) -> str:
        where = f"embedded:{self._target.engine or ''}" if self._target.embedded else str(self._target.endpoint)
        return f"<voxwire.Client {where}{' closed' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        self._check_usable()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        fleet = getattr(self, "_fleet", None)
        if fleet is None or not fleet.abandoned or self._loop is None:
            return
        warnings.warn(f"unclosed {self!r}, use async with or await close()", ResourceWarning, source=self, stacklevel=1)
        if self._loop.is_closed():
            fleet.abandon(loop_runs=False)
            return
        try:
            # The collector may run in any thread; the socket belongs to its loop's.
            self._loop.call_soon_threadsafe(_abandon, fleet)
        except RuntimeError:
            fleet.abandon(loop_runs=False)

    async def connect(self) -> None:
        """Opens the connection and authenticates, ahead of the first need.

        Cancelled, it leaves the attempt to others who wait for it.

        Raises:
            ConnectError: No connection within ``connect_timeout_s``: the last definite error.
            AuthenticationError: No valid credential (401).
            PermissionDenied: The credential may not do this (402, 403).
            RateLimited: Too many connections (429).
            NotFound: No such path (404).
            ServerError: The server stayed in fault (5xx).
            ProtocolError: The answer breaks HTTP or RFC 6455; code ``handshake``.
        """
        self._check_usable()
        await self._fleet.link()

    async def close(self) -> None:
        """Cancels open contexts, closes the connection, leaves no task and no socket. A second call does nothing."""
        if self._loop is not None:
            self._check_loop()
        if self._closed:
            return
        self._closed = True
        contexts = list(self._contexts)
        for context in contexts:
            context.abandon()
        self._fleet.sever()
        try:
            for context in contexts:
                await context.stop()
        finally:
            await self._fleet.close()

    def abort(self) -> None:
        """Drops the connection at once and without a word; in the loop's thread. For who cannot wait for ``close``."""
        self._closed = True
        self._fleet.abandon(loop_runs=True)

    def context(self, text: Text | None = None, /, **options: Any) -> Context:
        """Returns a context, to be used as ``async with``.

        Args:
            text: Fed by a task inside the block; None where text will be pushed or fed.
            **options: The protocol's fields: ``voice`` (an id), ``model_id`` or ``model``, ``output_format`` (an
                ``AudioFormat`` or the protocol's object), ``deliver_format`` (an ``AudioFormat`` in which the audio is
                handed out: it is converted in the call that decodes it), ``language``, ``locale``, ``normalization``,
                ``generation_config``, ``add_timestamps``, ``add_phoneme_timestamps``, ``max_buffer_delay_ms``,
                ``pronunciation_dict_id``, ``use_normalized_timestamps``.

        Raises:
            TypeError: An option is unknown or has a wrong type, or the text is none.
            ValueError: An option has a wrong value.
        """
        if text is not None:
            check_text(text)
        return Context(self, self._services, ContextOptions(options), text)

    async def say(self, text: Text, *, sink: str | Output | None = None, **options: Any) -> Record:
        """Speaks a text into a sink, to its end.

        Args:
            text: The text.
            sink: An address such as ``"file:out.wav"`` or an open one; None for the default sound device.
            **options: As of :meth:`context`.

        Returns:
            The record of the context.
        """
        if sink is None:
            from voxwire.playback import default_address  # noqa: PLC0415 - who only iterates needs none of it

            sink = default_address()
        async with self.context(text, **options) as context:
            playback = await context.play(sink)
            await playback.wait()
        return context.record

    async def voices(self) -> list[dict[str, Any]]:
        """Returns the voices of the server: the protocol's objects, with ``id``, ``name``, ``language`` and more.

        Raises:
            VoxwireError: As :meth:`connect`.
        """
        self._check_usable()
        return await self._voices.all()

    # --- for contexts

    def enlist(self, context: Context) -> None:
        """A context enters its block."""
        self._check_usable()
        self._contexts.add(context)

    def discharge(self, context: Context) -> None:
        """A context has left its block."""
        self._contexts.discard(context)

    def _check_usable(self) -> None:
        self._check_loop()
        if self._closed:
            raise RuntimeError("the client is closed")

    def _check_loop(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("the client is used outside of an event loop") from None
        if self._loop is None:
            self._loop = loop
        elif loop is not self._loop:
            raise RuntimeError("the client is used from another loop or thread")


def _abandon(fleet: Fleet) -> None:
    fleet.abandon(loop_runs=True)
