"""Name lookup for upstreams that leaves out forbidden addresses.

A provider's name is looked up for every new connection, and each address is judged before that very address is
connected to, so that a name that changes its address between check and use gains nothing.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from gateway.addresses import check_address, literal_address


class GuardedResolver(AbstractResolver):
    """`resolve` raises OSError when no address is left, which aiohttp reports as a failed connection."""

    def __init__(self, *, allow_private: bool, loopback: bool, inner: AbstractResolver | None = None) -> None:
        """`loopback`: the settings name this machine literally (`localhost`), so nothing else is meant."""
        self._allow_private, self._loopback = allow_private, loopback
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        allowed = [one for one in found if self._allowed(one["host"])]
        if not allowed:
            raise OSError(None, "the upstream's name leads only to addresses that are refused")
        return allowed

    def _allowed(self, text: str) -> bool:
        address = literal_address(text)
        if address is None:
            return False
        if self._loopback:
            return address.is_loopback
        try:
            check_address(address, allow_private=self._allow_private)
        except PermissionError:
            return False
        return True

    async def close(self) -> None:
        await self._inner.close()
