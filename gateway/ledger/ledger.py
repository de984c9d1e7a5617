"""What a ledger store must do, and the one rule that all of them follow. No I/O.

An account is one budget in one period (or one agent in one minute). Each gateway worker is a holder and has one share
of an account: what it has spent so far, and a lease, which is what it may still spend without asking. The rule: the
shares of an account never add up to more than its limit. A holder may always lower its share, and raise it only while
that holds.

So the lease of a worker that died stays spent until the period ends. That is the safe side, and its price: at most the
running requests' reservations and one lease, which is a hundredth of what was left when it was taken.

A holder always states its whole share, never a difference. A call whose answer was lost can therefore be repeated, and
the next call puts right whatever the lost one left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from gateway.errors import AispmError

LEASE_DIVISOR = 100
"""A lease is this part of what is left, so that leases shrink to nothing as the limit comes near."""


class LedgerError(AispmError):
    """The store did not answer, or not in time. Whether it did what was asked is unknown."""


class Share(NamedTuple):
    """What a holder wants its share of an account to be."""

    account: str
    limit: int
    spent: int
    """By this holder since the account began; never falls."""
    lease: int
    """Beyond `spent`, at the least; `need` is in it."""
    need: int = 0
    """What a request waits for. 0: nothing is asked; the holder tells what it has, which is no more than before."""
    force: bool = False
    """Grant `need` even beyond the limit: the money is gone already, or the policy only flags."""
    keep_until: int = 0
    """Seconds since 1970 after which the account may be forgotten."""


class Row(NamedTuple):
    """One holder's share as it is stored."""

    holder: str
    spent: int
    lease: int
    expires: float
    """A holder that has not come back by then (seconds since 1970) is taken for dead."""


class Standing(NamedTuple):
    """An account after a call."""

    lease: int
    """Of the caller: at least what it asked for."""
    spare: int
    """The lease that would be granted on top of the next need."""
    spent: int
    """By all holders."""
    leased: int
    """By all holders, dead ones too."""
    over: bool
    """Whether it stands above its limit, which only `force` does."""


class Refused(NamedTuple):
    """Nothing was changed: one account could not grant what was needed."""

    place: int
    """Index of the share that was refused."""
    room: int
    """The most that one request could still get, once every living holder gave its lease back. A request for no more
    than that may succeed soon: running requests hold more than they will spend."""


class Store(Protocol):
    """Where shares are kept. Calls come from one thread at a time; every failure is a LedgerError."""

    def update(
        self, holder: str, shares: Sequence[Share], expires: float, now: float
    ) -> tuple[Standing, ...] | Refused:
        """Set the holder's shares, all or none, atomically over all holders. Times are in seconds since 1970."""

    def purge(self, now: float) -> None:
        """Forget accounts whose time is over."""

    def close(self) -> None:
        """Let go of the storage; what is kept stays."""


def decide(holder: str, share: Share, rows: Iterable[Row], now: float) -> Standing | Refused:
    """What becomes of one share, given all rows of its account. `place` of a Refused is left 0."""
    others = others_spent = lost = 0
    for row in rows:
        if row.holder != holder:
            others += row.spent + row.lease
            others_spent += row.spent
            if row.expires <= now:
                lost += row.lease
    room = share.limit - others - share.spent  # for the lease
    if share.need and share.lease > room and not share.force:
        return Refused(0, share.limit - others_spent - lost - share.spent)
    left = max(0, room - share.lease)
    extra = left // LEASE_DIVISOR if share.need else 0
    return Standing(
        lease=share.lease + extra,
        spare=(left - extra) // LEASE_DIVISOR,
        spent=share.spent + others_spent,
        leased=share.lease + extra + others - others_spent,
        over=share.lease > room,
    )
