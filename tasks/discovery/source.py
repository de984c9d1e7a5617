"""What a discovery source is, what it is given, and what all sources do alike.

A source reads one kind of place and says what it saw; it never decides identity, never writes and never raises for
what it could not read: that is a `SourceResult` with its completeness and reason. Sources never import each other.
"""

from __future__ import annotations

import ipaddress
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from tasks.discovery.inventory import Inventory
from tasks.errors import ConfigError
from tasks.records import SourceResult
from tasks.settings import Settings

MAX_BODY = 1_048_576
"""Bytes of one reply that a source reads; a longer reply is cut, so a hostile service cannot fill memory."""
MAX_DEPTH = 40
"""Nesting of a fact that is kept; deeper levels become null."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class SourceContext:
    settings: Settings
    inventory: Inventory
    clock: Callable[[], datetime] = utc_now


class Source(Protocol):
    name: str
    version: str
    needs: tuple[str, ...]
    """Every operation the source may call, `service:Operation`. Nothing else is let through."""

    def collect(self, ctx: SourceContext) -> list[SourceResult]:
        """One result per scope (a file, an endpoint, a region × service). Raises nothing it can name."""
        ...


def clean(value: Any, depth: int = 0) -> Any:
    """A copy that is safe to hash and store as JSON: no NaN, no lone surrogates, no bytes, bounded depth."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {str(clean(str(k))): clean(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v, depth + 1) for v in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def refuse_metadata_address(url: str) -> None:
    """Raise ConfigError when the URL leads to a link-local address, where clouds keep machine credentials.

    Every resolved address is looked at. A name that does not resolve is left to fail at connection.
    """
    host = urlsplit(url).hostname
    if not host:
        raise ConfigError("the URL has no host; write it as https://host[:port]/path")
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return
    for text in found:
        address = ipaddress.ip_address(str(text).split("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified:
            raise ConfigError(f"{host} resolves to {mapped}, a link-local or unspecified address; it is not contacted")
