"""Where a probe may go: the declared origins, and there no address at which a cloud keeps its machines' credentials.

The check is made on the address that is connected to, so a name that changes its mind between check and use gains
nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud ECS
        "168.63.129.16",  # Azure, the platform's own channel to its machines
        "192.0.0.192",  # Oracle Cloud classic
        "fd00:ec2::254",  # AWS EC2 over IPv6
        "fd20:ce::254",  # Google Compute Engine over IPv6
    )
)
"""Metadata services outside the link-local ranges."""


@lru_cache(1024)
def origin(url: str) -> tuple[str, str, int]:
    """(scheme, host, port) of an http(s) URL. Raises ValueError for anything else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("not a plain http(s) URL")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def refused_address(text: str) -> bool:
    """Whether this IP address is never a target: link-local, metadata, multicast or unspecified."""
    address = ipaddress.ip_address(text.split("%")[0])
    plain = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    return plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain in _METADATA


def refused_host(host: str) -> bool:
    """The same for a host that is written as an address; a name is looked at when it is resolved."""
    try:
        return refused_address(host)
    except ValueError:
        return False


class GuardedResolver(AbstractResolver):
    """The system's resolver without the addresses that are refused."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError when any address of the host is refused: such a name is not half trusted."""
        found = await self._resolver.resolve(host, port, family)
        if any(refused_address(one["host"]) for one in found):
            raise OSError(f"{host} leads to a link-local or metadata address; it is not contacted")
        return found

    async def close(self) -> None:
        await self._resolver.close()
