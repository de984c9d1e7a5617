"""Listening sockets: TLS, a port that several processes share, and the loopback port for operators."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from gateway.errors import ConfigError
from gateway.settings import Listen


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
        # Accepted sockets inherit these: one that is silent is asked whether its client is still there.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if client_read_s is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(client_read_s * 1000))
        made.bind((host, port))
    except OSError as e:
        made.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {e.strerror or e}") from None
    return made
