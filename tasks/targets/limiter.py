"""How fast one target may be asked: requests and tokens per minute, requests in flight, pauses, and when to give up.

One `Limiter` per base URL and credential reference, since that is what providers count by. Workers of several batches
share it across threads and event loops.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW_S = 60.0
SLOT_POLL_S = 0.02
"""How often a worker looks for a free slot while others hold them all."""
RECOVERY = 30
"""Successes after which a halved concurrency grows by one."""


class Window:
    """At most `limit` units within any `WINDOW_S` seconds; exact, since it keeps when each unit was taken."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: deque[list[float]] = deque()
        self._sum = 0.0

    def wait(self, amount: int, now: float) -> float:
        """Seconds until `amount` fits; 0 = now. More than the whole limit fits into an empty window only."""
        if self._limit is None:
            return 0.0
        while self._taken and self._taken[0][0] <= now - WINDOW_S:
            self._sum -= self._taken.popleft()[1]
        excess = self._sum + amount - self._limit
        if excess <= 0 or not self._taken:
            return 0.0
        for at, units in self._taken:
            excess -= units
            if excess <= 0:
                return at + WINDOW_S - now
        return self._taken[-1][0] + WINDOW_S - now

    def seconds_for(self, amount: int) -> float:
        return 0.0 if self._limit is None else WINDOW_S * amount / self._limit

    def take(self, amount: int, now: float) -> list[float] | None:
        if self._limit is None:
            return None
        entry = [now, float(amount)]
        self._taken.append(entry)
        self._sum += amount
        return entry

    def correct(self, entry: list[float] | None, amount: int) -> None:
        """What an entry turned out to be. One that has left the window is of no account any more."""
        if entry is not None and self._taken and entry[0] >= self._taken[0][0]:
            self._sum += amount - entry[1]
            entry[1] = float(amount)


@dataclass(slots=True)
class Pass:
    """Leave to send one request; to be handed back with `Limiter.leave`."""

    started: float
    tokens: list[float] | None = field(default=None, repr=False)


class Limiter:
    """Thread-safe. `stopped` says why nothing may be sent any more: `throttled` or `circuit_open`."""

    def __init__(
        self,
        concurrency: int = 1_000,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        failures: int = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = self._slots = concurrency
        self._in_flight = 0
        self._requests = Window(requests_per_minute)
        self._tokens = Window(tokens_per_minute)
        self._failures = failures
        self._failed_in_row = 0
        self._successes = 0
        self._halved_at = float("-inf")
        self._paused_until = float("-inf")
        self._clock = clock
        self._lock = threading.Lock()  # guards all of the above: _in_flight never above _slots at the time of a pass
        self.stopped: str | None = None

    @property
    def slots(self) -> int:
        """Requests that may be in flight now."""
        return self._slots

    def seconds_for(self, requests: int, tokens: int) -> float:
        """How long the limits per minute make so much take at least."""
        return max(self._requests.seconds_for(requests), self._tokens.seconds_for(tokens))

    def attempt(self, tokens: int) -> Pass | float:
        """Leave to send now, or the seconds after which to ask again."""
        with self._lock:
            now = self._clock()
            if (pause := self._paused_until - now) > 0:
                return pause
            if self._in_flight >= self._slots:
                return SLOT_POLL_S
            if (delay := max(self._requests.wait(1, now), self._tokens.wait(tokens, now))) > 0:
                return delay
            self._in_flight += 1
            self._requests.take(1, now)
            return Pass(now, self._tokens.take(tokens, now))

    async def enter(self, tokens: int) -> Pass | None:
        """Wait for leave to send; None when the target has been given up meanwhile."""
        while self.stopped is None:
            leave = self.attempt(tokens)
            if isinstance(leave, Pass):
                return leave
            await asyncio.sleep(min(leave, 1.0))  # short naps: the target may be given up during a long pause
        return None

    def leave(self, leave: Pass, *, failed: bool = False, throttled: bool = False, tokens: int | None = None) -> None:
        """Hand a pass back. `failed` is a timeout, a broken connection or a 5xx; `tokens` is the reported usage."""
        with self._lock:
            self._in_flight -= 1
            if tokens is not None:
                self._tokens.correct(leave.tokens, tokens)
            if throttled:
                # Once per generation: sixteen answers of one burst are one message, not sixteen.
                if leave.started > self._halved_at:
                    self._slots = max(1, self._slots // 2)
                    self._halved_at = self._clock()
                self._successes = 0
            elif not failed and self._slots < self._most:
                self._successes += 1
                if self._successes >= RECOVERY:
                    self._slots, self._successes = self._slots + 1, 0
            self._failed_in_row = self._failed_in_row + 1 if failed else 0
            if self._failed_in_row >= self._failures:
                self.stopped = self.stopped or "circuit_open"

    def pause(self, seconds: float) -> None:
        """Nobody sends for so long."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def give_up(self, why: str) -> None:
        with self._lock:
            self.stopped = self.stopped or why
