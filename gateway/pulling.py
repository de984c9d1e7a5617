"""Ties the puller to a gateway: what it verifies with, whom it tells, what the log learns of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import AispmError
from gateway.loading import Loader
from gateway.policy import root
from gateway.policy.files import read_document
from gateway.server import Gateway
from gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from gateway.policy.puller import Puller  # its HTTP client is loaded only where a server is asked


def make_puller(
    settings: GatewaySettings, loader: Loader, gateway: Gateway, taken: Callable[[], Awaitable[None]]
) -> Puller:
    """The puller of a running gateway. Raises AispmError."""

    def applied() -> str:
        policy = gateway.policy.rules.policy
        return f"{policy.epoch}.{policy.version}"

    return _puller(settings, loader, taken, gateway.refused, applied)


def _puller(
    settings: GatewaySettings,
    loader: Loader,
    taken: Callable[[], Awaitable[None]],
    refused: Callable[[AispmError], None],
    applied: Callable[[], str],
) -> Puller:
    from gateway.policy.puller import Puller, client_of

    source = settings.policy
    return Puller(
        client=client_of(source.url or "", source.credential, source.ca),
        gateway_id=settings.gateway_id,
        installed=root.first_root(*read_document(source.root, root.MAX_BYTES)).version,
        memory=settings.policy_memory,
        take=loader.remember,
        taken=taken,
        refused=refused,
        applied=applied,
        max_stale_s=source.max_stale_s,
    )


async def ensure_policy(settings: GatewaySettings, loader: Loader, *, wait: bool) -> None:
    """Before a gateway starts that asks a server: see that it remembers a policy that may be in force.

    With `wait` an unreachable server is tried until it answers, unless such a policy is there already; without, the
    server is asked in any case, once. Raises AispmError.
    """
    if settings.policy.url is None:
        return
    if wait:
        with suppress(AispmError):
            loader.remember(None)
            return

    async def nobody() -> None:
        return

    from gateway.policy.puller import first_policy

    puller = _puller(settings, loader, nobody, lambda error: None, lambda: "0.0")
    try:
        await first_policy(puller, wait=wait)
    finally:
        await puller.client.close()


def tell_parent() -> Callable[[], Awaitable[None]]:
    """What worker 0 does with a new policy in the memory: the parent passes SIGHUP on to all workers, this one too."""
    parent = os.getppid()

    async def tell() -> None:
        if os.getppid() == parent:  # a parent that died was replaced by init, which must not get the signal
            with suppress(ProcessLookupError):
                os.kill(parent, signal.SIGHUP)

    return tell
