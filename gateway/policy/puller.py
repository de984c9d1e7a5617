"""Fetches policies from a policy server: a long poll that ends the moment something new is published.

One puller per host. It verifies what it fetched and writes it into the gateway's memory; the workers read it from
there and verify it again. The poll is the heartbeat too: it says which policy is in force here and what was refused.

Answers are capped in bytes and in seconds before anything looks at them. A server that is silent, slow, endless or
wrong costs nothing but freshness (`max_stale_s`); it cannot take the policy in force away.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from gateway.errors import AispmError, ConfigError, IncompleteError
from gateway.policy import bundle, root
from gateway.policy.chain import MAX_ROOT_STEPS, Document, Memory
from gateway.policy.files import Source, read_memory
from gateway.policy.refused import PolicyError
from gateway.policy.trust import MAX_SIGNATURE_BYTES
from gateway.secrets import resolve_secret

log = logging.getLogger("gateway")

HOLD_SECONDS = 25
"""How long the server is asked to hold a poll: below the 30 s after which proxies cut silent connections, and at most a
third of `max_stale_s`, so that two answers may get lost. "Nothing new" within half of it is from a server that does not
hold polls, such as any static file server."""
ANSWER_SECONDS = 15.0
"""For connecting and for a whole answer, beyond the hold: 1 MiB at 1 Mbit/s, with room."""
STATIC_PAUSE = 3.0
"""Seconds between polls of such a server: half of the time in which a revocation should arrive."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
"""Seconds after a failure, doubled at each that follows; below 30 s, in which a revocation must arrive."""

_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,128}"')


class Answer(NamedTuple):
    document: Document
    etag: str | None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A `Source` of what was fetched."""

    document: Document
    roots: dict[int, Document] = field(default_factory=dict)

    def root(self, version: int) -> Document | None:
        return self.roots.get(version)

    def policy(self) -> Document:
        return self.document


class PolicyClient:
    """HTTP of the puller. Every method raises IncompleteError when there is no usable answer, PolicyError when there is
    one that can be no policy."""

    def __init__(self, url: str, token: str | None = None, ca: Path | None = None) -> None:
        headers = {"Accept-Encoding": "identity", "User-Agent": "aispm-gateway"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            verify = True if ca is None else ssl.create_default_context(cafile=str(ca))
        except (OSError, ssl.SSLError):
            raise ConfigError("cannot read the certificate authority", ca) from None
        # trust_env: a proxy or netrc of the environment must not come between gateway and policy server.
        self._http = httpx.AsyncClient(headers=headers, verify=verify, trust_env=False, follow_redirects=False)
        self._url = url.rstrip("/")

    async def close(self) -> None:
        """Drop the connections."""
        await self._http.aclose()

    async def policy(self, etag: str | None, hold: int, beat: dict[str, str]) -> Answer | None:
        """The newest policy; None when it is still the one of `etag`, after up to `hold` seconds."""
        headers = {"Prefer": f"wait={hold}"} if hold else {}
        if etag is not None:
            headers["If-None-Match"] = etag
        found = await self._get("policy", bundle.MAX_BYTES, headers, beat, hold)
        if found is None:
            if etag is None:
                raise IncompleteError("the policy server says that nothing changed, but was asked for all")
            return None
        status, body, new_etag = found
        if status != 200:
            raise IncompleteError(f"the policy server answers {status}")
        return Answer(Document.unframe(body), new_etag)

    async def root(self, version: int) -> Document | None:
        """That version of the root; None when the server has none."""
        found = await self._get(f"root/{version}", root.MAX_BYTES, {}, {}, 0)
        if found is None or found[0] not in (200, 404):
            raise IncompleteError(f"the policy server answers {304 if found is None else found[0]} to a root")
        return Document.unframe(found[1]) if found[0] == 200 else None

    async def _get(
        self, path: str, limit: int, headers: dict[str, str], query: dict[str, str], hold: int
    ) -> tuple[int, bytes, str | None] | None:
        limit += MAX_SIGNATURE_BYTES + 1
        timeout = httpx.Timeout(ANSWER_SECONDS, read=hold + ANSWER_SECONDS)
        try:
            async with (
                asyncio.timeout(hold + ANSWER_SECONDS),
                self._http.stream(
                    "GET", f"{self._url}/{path}", headers=headers, params=query, timeout=timeout
                ) as reply,
            ):
                if reply.status_code == 304:
                    return None
                if reply.headers.get("Content-Encoding"):
                    raise IncompleteError("the policy server answers compressed, which was not asked for")
                body = bytearray()
                async for piece in reply.aiter_raw():
                    body += piece
                    if len(body) > limit:
                        raise PolicyError("size", f"the policy server's answer has more than {limit} bytes")
                etag = reply.headers.get("ETag", "")
                return reply.status_code, bytes(body), etag if _ETAG.fullmatch(etag) else None
        except TimeoutError:
            raise IncompleteError("the policy server is too slow") from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as e:
            raise IncompleteError(f"the policy server cannot be reached ({type(e).__name__})") from None


@dataclass(slots=True)
class Puller:
    """`take` verifies and remembers what a source offers; `taken` is called after something new was; `refused` is told
    why something was not, once per cause, and `confirmed` whenever the server said what is newest; `applied` says
    which policy is in force (`epoch.version`)."""

    client: PolicyClient
    gateway_id: str
    installed: int
    """Version of the installed root."""
    memory: Path
    take: Callable[[Source], None]
    taken: Callable[[], Awaitable[None]]
    refused: Callable[[AispmError], None]
    applied: Callable[[], str]
    max_stale_s: float
    _etag: str | None = None
    _last: str | None = None
    """What the last attempt failed with; None after a success."""

    async def run(self) -> None:
        """Until cancelled."""
        loop, pause, confirmed = asyncio.get_running_loop(), FIRST_PAUSE, asyncio.get_running_loop().time()
        told_stale, hold = False, max(1, min(HOLD_SECONDS, int(self.max_stale_s / 3)))
        while True:
            began, asked_for_news = loop.time(), self._etag is not None
            try:
                changed = await self.once(hold)
            except Exception as e:  # noqa: BLE001 - a full disk, too, must not end the polling for good
                self._failed(e)
                if not told_stale and loop.time() - confirmed > self.max_stale_s:
                    told_stale = True
                    self.refused(PolicyError("stale", "no usable answer of the policy server"))
                # Full jitter: a fleet that lost its server together must not come back together.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            confirmed, told_stale, pause, self._last = loop.time(), False, FIRST_PAUSE, None
            if changed:
                await self.taken()
            elif (asked_for_news or self._etag is None) and loop.time() - began < hold / 2:
                # It does not hold polls, or gives no ETag to hold them by.
                await asyncio.sleep(STATIC_PAUSE * random.uniform(0.75, 1.25))  # noqa: S311 - as above

    async def once(self, hold: int) -> bool:
        """One poll: whether something new was taken over. Raises AispmError: IncompleteError, or why it was refused."""
        beat = {"gateway": self.gateway_id, "applied": self.applied(), "refused": self._last or ""}
        answer = await self.client.policy(self._etag, hold, beat)
        if answer is None:
            self._confirm()
            return False
        self._etag = None  # until it is taken over, so that a refused one is fetched again
        memory = read_memory(self.memory)
        roots: dict[int, Document] = {}
        version = max(self.installed, memory.root_version if memory else 0) + 1
        while (step := await self.client.root(version)) is not None:
            roots[version] = step
            version += 1
            if len(roots) > MAX_ROOT_STEPS:
                raise PolicyError("root", "the policy server has no last root")
        if roots:  # the policy that goes with the newest of them; the first answer may be older
            answer = await self.client.policy(None, 0, beat)
            if answer is None:
                raise IncompleteError("the policy server gave no policy")
        try:
            await asyncio.to_thread(self.take, Downloaded(answer.document, roots))
        except AispmError:
            if self._changed(memory):  # a new root holds; the policy in force may not under it
                await self.taken()
            raise
        self._etag = answer.etag
        self._confirm()
        return self._changed(memory)

    def _changed(self, before: Memory | None) -> bool:
        after = read_memory(self.memory)
        if before is None or after is None:
            return before is not after
        return (before.policy, before.root_version) != (after.policy, after.root_version)

    def _confirm(self) -> None:
        os.utime(self.memory)

    def _failed(self, error: Exception) -> None:
        cause = error.detail if isinstance(error, PolicyError) else "unreachable"
        if cause != self._last:
            self._last = cause
            if isinstance(error, AispmError) and not isinstance(error, IncompleteError):
                self.refused(error)
            else:
                log.warning("%s; trying again", error if isinstance(error, AispmError) else type(error).__name__)


async def first_policy(puller: Puller, *, wait: bool) -> None:
    """Fetch the first policy of a gateway that has none. With `wait` an unreachable server is tried until it answers.

    Raises PolicyError when what it offers is refused, IncompleteError without `wait`."""
    pause = FIRST_PAUSE
    while True:
        try:
            await puller.once(0)
        except IncompleteError as e:
            if not wait:
                raise
            log.warning("no policy yet: %s; trying again", e)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        else:
            return


def client_of(url: str, credential: str | None, ca: Path | None) -> PolicyClient:
    """The client for `[policy]` of the settings. Raises ConfigError."""
    return PolicyClient(url, None if credential is None else resolve_secret(credential), ca)
