"""The rules in force in one worker, and whether they may be used at this moment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.errors import AispmError
from gateway.filter import RuleSet
from gateway.loading import Loaded
from gateway.policy.refused import PolicyError

log = logging.getLogger("gateway")

LOOK_SECONDS = 1.0
"""How often a worker looks when the policy was last confirmed; `max_stale_s` counts in minutes."""


class Freshness:
    """When the policy was last confirmed to be the newest: the time stamp of the memory's file, which whoever talks to
    the policy server touches at every usable answer, and which outlives restarts."""

    def __init__(self, memory: Path, max_stale_s: float) -> None:
        self._memory, self._max_stale_s = memory, max_stale_s
        self._looked, self._stale = -LOOK_SECONDS, False

    def stale(self) -> bool:
        """Whether that is longer ago than `max_stale_s`."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            try:
                self._stale = time.time() - self._memory.stat().st_mtime > self._max_stale_s
            except OSError:
                self._stale = True
        return self._stale


class PolicyInForce:
    """Swapped whole at a reload: a request sees the old rules or the new ones, never some of each."""

    def __init__(
        self,
        load: Callable[[RuleSet | None], Loaded],
        now: Callable[[], datetime],
        freshness: Freshness | None = None,
    ) -> None:
        """`freshness`: None where nothing ever confirms it, or where a stale policy is kept. Raises AispmError when
        there is no policy that may be used."""
        self._load, self._now, self._freshness = load, now, freshness
        self._denied: str | None = None
        self._reloading = asyncio.Lock()
        loaded = load(None)
        self.rules = loaded.rules
        self.first_events = [self.event("allow"), *self._refusals(loaded.refused)]
        """What the log is told at the start."""

    def fault(self) -> str | None:
        """Why no request may pass at this moment (a `reason_detail` of `POLICY.SIGNATURE`), or None."""
        if self._denied is not None:
            return self._denied
        if self.rules.policy.expired(self._now()):
            return "expired"
        return "stale" if self._freshness is not None and self._freshness.stale() else None

    async def reload(self) -> list[dict[str, Any]]:
        """Read the policy again, without holding up requests; the events that tell of it."""
        async with self._reloading:
            before = self.rules.policy.sha256
            try:
                loaded = await asyncio.to_thread(self._load, self.rules)
            except AispmError as e:
                # Neither the newest nor the last one may be used: its key was revoked, or the settings say so.
                self._denied = detail(e)
                return self._refusals(e)
            self.rules, self._denied = loaded.rules, None
            applied = [] if loaded.rules.policy.sha256 == before else [self.event("allow")]
            return [*applied, *self._refusals(loaded.refused)]

    def event(self, decision: str, reason_detail: str | None = None) -> dict[str, Any]:
        """A `policy` event about the policy in force: it was taken over (`allow`), or something else was refused."""
        policy = self.rules.policy
        event = {
            "event_kind": "policy",
            "decision": decision,
            "policy_version": policy.version,
            "tenant_id": policy.tenant,
            "policy_epoch": policy.epoch,
            "policy_hash": policy.sha256,
        }
        if reason_detail is not None:
            event |= {"reason_code": "POLICY.SIGNATURE", "reason_detail": reason_detail}
        return event

    def _refusals(self, refused: AispmError | None) -> list[dict[str, Any]]:
        if refused is None:
            return []
        log.error("policy not taken over: %s", refused)
        return [self.event("block", detail(refused))]


def detail(error: AispmError) -> str:
    """The `reason_detail` of an error: settings and files that cannot be read count as missing."""
    return error.detail if isinstance(error, PolicyError) else "missing"
