"""Listening sockets: TLS, a port that several processes share, and the loopback port for operators."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.errors import ConfigError
from gateway.settings import Listen

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
BACKLOG = 1024


def tls_context(listen: Listen) -> ssl.SSLContext | None:
    """The server's side of TLS 1.2 and later; None when the settings name no certificate. Raises ConfigError."""
    if listen.tls_cert is None or listen.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, listen.tls_cert, listen.tls_key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Take over the files' content for connections to come. Raises ConfigError; the old pair then stays."""
    try:
        # First into a context that nobody uses: half a new pair must not reach the one in service.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as e:
        detail = getattr(e, "strerror", None) or e
        raise ConfigError(f"certificate and key cannot be used: {detail}", certificate) from None


def _no_password() -> str:
    """Without it OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted; the gateway needs one that is not")


def bind(host: str, port: int, *, shared: bool, client_read_s: float | None = None) -> socket.socket:
    """A bound socket. With `shared` other processes may bind the same port and the kernel deals out connections.

    `client_read_s` closes connections whose client has not read for so many seconds (RFC 5482; 0-window probes count).
    Raises ConfigError when the address is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if client_read_s is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted sockets inherit it
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(client_read_s * 1000))
        made.bind((host, port))
    except OSError as e:
        made.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {e.strerror or e}") from None
    return made


class _Connection(RequestHandler):
    """One connection; what cannot be read as HTTP is answered by a handler too, so that it gets its event."""

    __slots__ = ("_unreadable",)

    def __init__(self, unreadable: Handler, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._unreadable = unreadable

    def _make_error_handler(self, err_info: Any) -> Handler:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            response = await self._unreadable(request)
            response.force_close()  # nobody knows where the next request begins
            return response

        return handle


class _Server(web.Server):
    def __init__(self, handle: Handler, unreadable: Handler, **options: Any) -> None:
        super().__init__(handle, **options)
        self._unreadable = unreadable

    def __call__(self) -> RequestHandler:
        return _Connection(self._unreadable, self, loop=self._loop, **self._kwargs)


async def serve(
    handle: Handler,
    where: socket.socket,
    shutdown_s: float,
    tls: ssl.SSLContext | None = None,
    unreadable: Handler | None = None,
    idle_s: float = 75.0,
) -> tuple[web.ServerRunner, str]:
    """Answer on a bound socket; the runner to clean up and the base URL. Raises ConfigError.

    `unreadable` answers what is no HTTP request, or one that two readers could take for different ones. A connection
    is closed that stays without a whole request head for `idle_s` seconds.
    """
    silent = logging.getLogger("gateway.http")
    silent.disabled = True  # its messages quote what clients sent
    options: dict[str, Any] = {
        "access_log": None,
        "logger": silent,
        "auto_decompress": False,
        "keepalive_timeout": idle_s,
    }
    server = web.Server(handle, **options) if unreadable is None else _Server(handle, unreadable, **options)
    runner = web.ServerRunner(server, shutdown_timeout=shutdown_s, access_log=None)
    await runner.setup()
    host, port = where.getsockname()[:2]
    try:
        await web.SockSite(runner, where, ssl_context=tls, backlog=BACKLOG).start()
    except OSError as e:
        await runner.cleanup()
        raise ConfigError(f"cannot listen on {host}:{port}: {e.strerror}") from None
    shown = f"[{host}]" if ":" in host else host
    return runner, f"{'http' if tls is None else 'https'}://{shown}:{port}"
