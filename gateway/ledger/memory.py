"""A ledger in the memory of one process: for a gateway of one worker whose budgets may start afresh with it."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ledger.ledger import Refused, Row, Share, Standing, decide


class MemoryStore:
    """Accounts as dictionaries. Never fails."""

    def __init__(self) -> None:
        self._accounts: dict[str, dict[str, Row]] = {}
        self._keep_until: dict[str, int] = {}

    def update(
        self, holder: str, shares: Sequence[Share], expires: float, now: float
    ) -> tuple[Standing, ...] | Refused:
        """See `Store`."""
        standings = []
        for index, share in enumerate(shares):
            found = decide(holder, share, self._accounts.get(share.account, {}).values(), now)
            if isinstance(found, Refused):
                return found._replace(place=index)
            standings.append(found)
        for share, standing in zip(shares, standings, strict=True):
            rows = self._accounts.setdefault(share.account, {})
            rows[holder] = Row(holder, share.spent, standing.lease, expires)
            self._keep_until[share.account] = share.keep_until
        return tuple(standings)

    def purge(self, now: float) -> None:
        """See `Store`."""
        for account in [a for a, until in self._keep_until.items() if until <= now]:
            del self._accounts[account], self._keep_until[account]

    def close(self) -> None:
        """See `Store`."""
