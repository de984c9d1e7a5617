"""A ledger in Redis (or Valkey), shared by gateways on several hosts. Needs the extra `redis`.

One hash per account, one field per holder. A call watches the accounts, decides, and writes in MULTI/EXEC, which Redis
refuses when another holder was faster; then the call decides anew. The server must not evict keys
(`maxmemory-policy noeviction`) and should persist them (`appendonly yes`): what it forgets may be spent again. Not for
Redis Cluster, whose transactions cannot span accounts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from gateway.errors import ConfigError
from gateway.ledger.ledger import LedgerError, Refused, Row, Share, Standing, decide

if TYPE_CHECKING:
    from redis import Redis

PREFIX = "aispm:ledger:"
TIMEOUT_SECONDS = 2.0
"""Of one command: a request waits for it."""
ATTEMPTS = 100
"""Of one call. Each time one is refused another holder's went through, so more than a few mean a broken server."""
PAUSE_SECONDS = 0.002
"""The longest pause after a refused attempt."""


def connect(url: str) -> Redis:
    """A client for `redis://` or `rediss://` URLs. Raises ConfigError without the extra or for a bad URL."""
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise ConfigError("the ledger kind redis needs the Python package redis; install the extra `redis`") from None
    try:
        return Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1),  # once, for a connection that the server closed while it was idle
        )
    except ValueError:  # its message may quote the URL and so a password
        raise ConfigError("the ledger's URL must have the form redis://host:port/0 or rediss://…") from None


class RedisStore:
    """The client is used by one thread at a time."""

    def __init__(self, client: Redis) -> None:
        from redis.exceptions import RedisError, WatchError

        self._client, self._error, self._lost_race = client, RedisError, WatchError
        try:
            client.ping()
        except (RedisError, OSError) as e:
            raise LedgerError(f"the ledger's Redis cannot be reached ({type(e).__name__})") from None

    def update(
        self, holder: str, shares: Sequence[Share], expires: float, now: float
    ) -> tuple[Standing, ...] | Refused:
        """See `Store`."""
        try:
            for _ in range(ATTEMPTS):
                try:
                    return self._attempt(holder, shares, expires, now)
                except self._lost_race:
                    time.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311 - spreads retries; nothing secret
        except (self._error, OSError) as e:
            raise LedgerError(f"the ledger's Redis does not answer ({type(e).__name__})") from None
        raise LedgerError("the ledger's Redis is too busy")

    def _attempt(
        self, holder: str, shares: Sequence[Share], expires: float, now: float
    ) -> tuple[Standing, ...] | Refused:
        keys = [PREFIX + share.account for share in shares]
        with self._client.pipeline() as pipe:
            pipe.watch(*keys)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            standings = []
            for index, (key, share) in enumerate(zip(keys, shares, strict=True)):
                found = decide(holder, share, _rows(cast("dict[bytes, bytes]", pipe.hgetall(key))), now)
                if isinstance(found, Refused):
                    return found._replace(place=index)
                standings.append(found)
            pipe.multi()
            for key, share, standing in zip(keys, shares, standings, strict=True):
                pipe.hset(key, holder, f"{share.spent} {standing.lease} {expires}")
                pipe.expireat(key, share.keep_until)
            pipe.execute()
        return tuple(standings)

    def purge(self, now: float) -> None:
        """See `Store`; Redis forgets by itself."""

    def close(self) -> None:
        """See `Store`."""
        self._client.close()


def _rows(fields: dict[bytes, bytes]) -> Iterable[Row]:
    for holder, text in fields.items():
        spent, lease, expires = text.split()
        yield Row(holder.decode(), int(spent), int(lease), float(expires))
