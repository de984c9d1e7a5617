"""What one worker does with its shares: requests reserve and settle in memory, the store is asked for leases only.

A purse is the worker's side of one account: `spent`, `reserved` by running requests, and `free`. Their sum never grows
but by what the store granted, so it never exceeds the worker's stored share, whatever happens to a call on its way:
free money is taken out of the purse before it is given back, and a grant is put in only after it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from gateway.ledger.ledger import LedgerError, Refused, Share, Standing, Store

log = logging.getLogger("gateway")

PURGE_SECONDS = 60.0


class Charge(NamedTuple):
    """What a request may cost one account at the most."""

    account: str
    limit: int
    amount: int
    keep_until: int
    """Seconds since 1970 after which the account may be forgotten."""
    force: bool = False
    """Granted beyond the limit too; the reservation then says so."""


class ExhaustedError(Exception):
    """The reservation was refused by charge number `index`; `held`: it may be granted soon (see `Refused`)."""

    def __init__(self, index: int, held: bool) -> None:
        super().__init__(index, held)
        self.index, self.held = index, held


@dataclass(slots=True)
class Purse:
    """The worker's side of one account."""

    limit: int
    keep_until: int
    spent: int = 0
    reserved: int = 0
    free: int = 0
    """Below zero when requests cost more than they had reserved, until the store has booked it."""
    spare: int = 0
    """How much free money is worth keeping: one lease."""
    used: bool = True
    """Since the last look."""
    told: tuple[int, int] = (0, 0)
    """(spent, lease) as the store has it."""
    standing: Standing | None = None
    """The account at the last call."""
    final_room: int = 0
    final_until: float = 0.0
    """Amounts above `final_room` are refused for good, under this limit; until then the store is not asked again."""

    def refuses(self, charge: Charge, now: float) -> bool:
        """Whether the store has just said that an amount like this is out of reach."""
        return now < self.final_until and charge.amount > self.final_room and charge.limit == self.limit

    def surplus(self) -> int:
        """Free money that other workers may need more: nothing until it is two leases, then all above one."""
        return self.free - self.spare if self.free > 2 * self.spare else 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a request holds until it is settled, exactly once."""

    parts: tuple[tuple[Purse, int], ...]
    over: tuple[bool, ...]
    """By charge: whether it went beyond the limit."""


DOWN_SECONDS = 1.0
"""After the store failed, requests are refused for this long without asking it: each would wait for its time-out, one
after the other."""
FINAL_SECONDS = 1.0
"""How long a refusal for good is remembered: refusing a flood of requests must not cost a transaction each."""


class Ledger:
    """One worker's purses over a store, whose calls run on a thread of their own, one at a time.

    `holder` is unique to this boot of this worker. `clock` gives seconds since 1970. A lease that its worker does not
    renew within `lease_seconds` counts as lost.
    """

    def __init__(self, store: Store, holder: str, lease_seconds: float, clock: Callable[[], float]) -> None:
        self._store, self._holder, self._clock = store, holder, clock
        self._lease_seconds = lease_seconds
        self._purses: dict[str, Purse] = {}
        self._calls = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._wake = asyncio.Event()
        self._purged = 0.0
        self._down_until = 0.0  # of the loop's clock

    def try_reserve(self, charges: Sequence[Charge]) -> Reservation | None:
        """A reservation out of what the worker holds already; None: `reserve` must ask the store."""
        parts = []
        for charge in charges:
            purse = self._purses.get(charge.account)
            if purse is None or purse.free < charge.amount or purse.limit != charge.limit:
                return None
            parts.append((purse, charge.amount))
        for purse, amount in parts:
            purse.free -= amount
            purse.reserved += amount
            purse.used = True
        return Reservation(tuple(parts), (False,) * len(parts))

    async def reserve(self, charges: Sequence[Charge]) -> Reservation:
        """Reserve all charges or none. Raises ExhaustedError or LedgerError."""
        if (found := self.try_reserve(charges)) is not None:
            return found
        now = self._clock()
        for index, charge in enumerate(charges):
            purse = self._purses.get(charge.account)
            if purse is not None and not charge.force and purse.refuses(charge, now):
                raise ExhaustedError(index, held=False)
        # Shielded: a request that is cancelled must not leave a call half accounted for.
        gone = asyncio.Event()
        task = asyncio.create_task(self._reserve(charges, gone))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            gone.set()
            if task.done() and not task.cancelled() and task.exception() is None:
                self.settle(task.result(), 0)
            raise

    async def _reserve(self, charges: Sequence[Charge], gone: asyncio.Event) -> Reservation:
        async with self._calls:
            purses = [self._purse(charge) for charge in charges]
            taken: list[tuple[Purse, int]] = []
            asking: list[tuple[int, Purse, Share]] = []
            for index, (purse, charge) in enumerate(zip(purses, charges, strict=True)):
                part = min(purse.free, charge.amount)  # below zero when something is owed
                lease = purse.free + purse.reserved + charge.amount - part
                purse.free -= part
                purse.reserved += part
                purse.used = True
                taken.append((purse, part))
                if part < charge.amount:
                    need = charge.amount - part
                    asking.append((index, purse, self._share(charge.account, purse, lease, need, force=charge.force)))
            over = [False] * len(charges)
            if asking:
                try:
                    if asyncio.get_running_loop().time() < self._down_until:
                        raise LedgerError("the ledger failed a moment ago")
                    found = await self._call([share for _, _, share in asking])
                except BaseException:
                    self._give_up(taken)
                    raise
                if isinstance(found, Refused):
                    self._give_up(taken)
                    index, purse, _ = asking[found.place]
                    held = charges[index].amount <= found.room
                    # Where money is short none may lie idle: it goes back, and this or another worker may then get it.
                    purse.spare = 0
                    self._wake.set()
                    if not held:
                        purse.final_room, purse.final_until = found.room, self._clock() + FINAL_SECONDS
                    raise ExhaustedError(index, held)
                for (index, purse, share), standing in zip(asking, found, strict=True):
                    purse.reserved += share.need
                    purse.spare = standing.lease - share.lease
                    purse.free += purse.spare
                    over[index] = standing.over
            parts = tuple((purse, charge.amount) for purse, charge in zip(purses, charges, strict=True))
            reservation = Reservation(parts, tuple(over))
            if gone.is_set():
                self.settle(reservation, 0)
            return reservation

    def _purse(self, charge: Charge) -> Purse:
        purse = self._purses.get(charge.account)
        if purse is None:
            purse = self._purses[charge.account] = Purse(charge.limit, charge.keep_until)
        elif purse.limit != charge.limit:
            # A new policy: what was leased under the old limit goes back unspent, with the next call.
            purse.limit, purse.final_until, purse.free = charge.limit, 0.0, min(purse.free, 0)
        return purse

    @staticmethod
    def _give_up(taken: Sequence[tuple[Purse, int]]) -> None:
        for purse, part in taken:
            purse.free += part
            purse.reserved -= part

    def _share(self, account: str, purse: Purse, lease: int, need: int, *, force: bool) -> Share:
        return Share(account, purse.limit, purse.spent, lease, need, force, purse.keep_until)

    async def _call(self, shares: Sequence[Share]) -> tuple[Standing, ...] | Refused:
        """Ask the store, and note what it has then."""
        now = self._clock()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._thread, self._store.update, self._holder, shares, now + self._lease_seconds, now
            )
        except LedgerError as e:
            if loop.time() >= self._down_until:
                log.error("%s", e)
            self._down_until = loop.time() + DOWN_SECONDS
            raise
        self._down_until = 0.0
        if not isinstance(found, Refused):
            for share, standing in zip(shares, found, strict=True):
                if (purse := self._purses.get(share.account)) is not None:
                    purse.told, purse.standing = (share.spent, standing.lease), standing
        return found

    def settle(self, reservation: Reservation, cost: int) -> None:
        """Spend `cost` of every part, give the rest back. More than was reserved is booked all the same."""
        for purse, amount in reservation.parts:
            purse.reserved -= amount
            purse.spent += cost
            purse.free += amount - cost
            if purse.free < 0 or purse.surplus():
                self._wake.set()

    async def flush(self, *, renew: bool = False) -> None:
        """Give back what is not needed and book what was overspent; `renew`: also tell the store that this worker
        lives and what it has spent, and give up what was not used since the last time. Raises LedgerError."""
        async with self._calls:
            shares, backs = [], []
            for account, purse in self._purses.items():
                if renew and not purse.used:
                    purse.spare = 0
                back = purse.surplus() if purse.free > 0 else purse.free
                lease = purse.free + purse.reserved - back
                changed = (purse.spent, lease) != purse.told
                if not (back or (renew and (changed or lease))):
                    continue
                purse.free -= back
                backs.append((purse, back))
                shares.append(self._share(account, purse, lease, max(0, -back), force=back < 0))
            if renew:
                for purse in self._purses.values():
                    purse.used = False
            if not shares:
                return
            try:
                found = await self._call(shares)
            except BaseException:
                # What was given back may have arrived, so it stays out of the purse; what was overspent stays owed.
                for purse, back in backs:
                    purse.free += min(back, 0)
                raise
            if isinstance(found, Refused):
                raise LedgerError("the ledger refused to take back what it had granted")
            for (purse, back), standing, share in zip(backs, found, shares, strict=True):
                extra = standing.lease - share.lease
                purse.free += extra
                purse.spare = extra if back < 0 else min(purse.spare, standing.spare)

    async def keep(self) -> None:
        """Until cancelled: renew leases in time, give back and book in between."""
        loop = asyncio.get_running_loop()
        interval = self._lease_seconds / 3
        due = loop.time() + interval
        while True:
            with contextlib.suppress(TimeoutError):  # `wait_for` of Python 3.11 may lose a cancellation
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            self._wake.clear()
            renew = loop.time() >= due
            try:
                await self.flush(renew=renew)
                if renew:
                    await self._forget()
            except LedgerError:  # logged where it happened
                await asyncio.sleep(min(interval, DOWN_SECONDS))
            if renew:
                due = loop.time() + interval

    async def _forget(self) -> None:
        """Drop what lies in the past, here and in the store."""
        now = self._clock()
        for account in [a for a, p in self._purses.items() if p.keep_until <= now and not p.reserved]:
            del self._purses[account]
        if now - self._purged >= PURGE_SECONDS:
            self._purged = now
            async with self._calls:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._store.purge, now)

    def standing(self, account: str) -> Standing | None:
        """An account as of this worker's last call for it."""
        purse = self._purses.get(account)
        return None if purse is None else purse.standing

    async def give_back(self) -> None:
        """Give back everything that is free. Raises LedgerError."""
        for purse in self._purses.values():
            purse.used = False
        await self.flush(renew=True)

    async def close(self) -> None:
        """Give everything back, then let go of the store."""
        try:
            await self.give_back()
        except LedgerError as e:
            log.error("%s; what this worker had leased stays spent until the period ends", e)
        self._thread.shutdown()
        self._store.close()
