"""Bounded HTTP towards one declared target: its origins only, no redirects, no proxies, capped, retried, never raising.

Whatever the far side does ends as an `Answer`. The `Gate` is shared by all workers of a target, so one Retry-After
pauses all of them and ten failures in a row stop all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx

MAX_REPLY_BYTES = 8 * 1024 * 1024
"""Of one reply; a chat answer is a few KiB, so more is an attack or a fault."""

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504, 529})
_FILTER_CODES = frozenset(
    {"content_filter", "content_filter_error", "content_policy_violation", "ResponsibleAIPolicyViolation"}
)
_RETRY_INFO = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,9}(?:\.\d{1,9})?)s"')
_GATEWAY_REASON = re.compile(r"(DLP|INJECTION|EGRESS|POLICY)\.[A-Z0-9_.]+")
"""Reason codes of an aispm gateway's policy decisions."""

_LIMIT_HEADERS = ("x-ratelimit-", "x-rate-limit-", "ratelimit", "anthropic-ratelimit-", "retry-after")
"""Beginnings of header names by which services announce limits; httpx lowers their case."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patiently a target is retried. Seconds."""

    tries: int = 4
    backoff_s: float = 0.5
    """Doubled per try, then drawn from 0 to that (full jitter) so that workers do not return in step."""
    backoff_cap_s: float = 20.0
    retry_after_cap_s: float = 120.0
    """A target that asks for more is left alone for this run."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP exchange, retries included. `data` is the decoded JSON object when `error_kind` is None."""

    data: dict[str, Any]
    status: int | None
    response_sha256: str | None
    error_kind: str | None
    body: str = ""
    """Start of what a refused request was told; for telling filters apart, never stored."""
    announces_limit: bool = False
    """The reply carries rate-limit headers (`x-ratelimit-…`, `ratelimit…`, `retry-after`)."""
    sent_bytes: int = 0
    """Of request bodies, over all tries."""
    tries: int = 0


class Gate:
    """What the workers of one target share. Used from one event loop only, so it needs no lock."""

    def __init__(self, take: Callable[[], bool] = lambda: True, *, failures: int = 10) -> None:
        self._take = take
        self._limit = failures
        self._row = 0
        self._paused_until = 0.0
        self.stopped: str | None = None
        """`circuit_open`, `throttled` or `budget` once no further request may be sent."""

    def enter(self) -> bool:
        """Charge one request; False when the target is given up or the budget is spent."""
        if self.stopped is None and not self._take():
            self.stopped = "budget"
        return self.stopped is None

    def pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    async def wait(self) -> None:
        while (left := self._paused_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)

    def note(self, failed: bool) -> None:
        """A timeout, a broken connection or a 5xx counts; anything else shows that the target is alive."""
        self._row = self._row + 1 if failed else 0
        if self._row >= self._limit and self.stopped is None:
            self.stopped = "circuit_open"

    def give_up(self, why: str) -> None:
        self.stopped = self.stopped or why


@cache
def tls_context() -> ssl.SSLContext:
    """One for all clients: each new one reads the CA bundle again."""
    return httpx.create_ssl_context(trust_env=False)


def origin(url: str) -> tuple[str, str, int]:
    """(scheme, host, port) of an http(s) URL. Raises ValueError for anything else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("not a plain http(s) URL")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


class Wire:
    """One worker's connection to the declared origins."""

    def __init__(
        self,
        urls: tuple[str, ...],
        gate: Gate,
        *,
        timeout_s: float,
        pace: Pace | None = None,
        decode: Callable[[bytes], Any] = json.loads,
        user_agent: str = "aispm-probe",
    ) -> None:
        """`decode` turns a body into an object; what it raises as ValueError is a malformed reply."""
        self._origins = frozenset(origin(url) for url in urls)
        self._gate = gate
        self._timeout_s = timeout_s
        self._pace = pace or Pace()
        self._decode = decode
        self._client = httpx.AsyncClient(
            verify=tls_context(),
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            headers={"user-agent": user_agent, "accept-encoding": "identity"},
        )
        self.sent = 0
        """Requests sent so far, repeated ones included."""

    async def close(self) -> None:
        await self._client.aclose()

    async def send(
        self,
        method: str,
        url: str,
        body: dict[str, Any] | bytes | None,
        bearer: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        decode: Callable[[bytes], Any] | None = None,
    ) -> Answer:
        """One JSON request (bytes are sent as they are), repeated on 408, 429, 5xx, timeouts and broken connections."""
        content, chosen = encoded(body, bearer)
        before = self.sent
        answer = await self._send(method, url, content, chosen | dict(headers or {}), decode or self._decode)
        tries = self.sent - before
        return replace(answer, sent_bytes=tries * len(content or b""), tries=tries)

    async def _send(
        self, method: str, url: str, content: bytes | None, headers: dict[str, str], decode: Callable[[bytes], Any]
    ) -> Answer:
        if origin(url) not in self._origins:
            return Answer({}, None, None, "connect", "outside the declared origin")
        answer = Answer({}, None, None, "connect")
        for attempt in range(self._pace.tries):
            await self._gate.wait()
            if not self._gate.enter():
                return Answer({}, None, None, self._gate.stopped or "budget")
            self.sent += 1
            answer, retry_after = await self._once(method, url, content, headers, decode)
            broken = answer.error_kind in ("timeout", "connect") or (answer.status or 0) >= 500
            self._gate.note(broken and answer.error_kind != "throttled")
            if not (answer.error_kind in ("timeout", "connect") or answer.status in RETRIED_STATUS):
                return answer
            if answer.error_kind in ("filtered", "too_large"):
                return answer
            if retry_after is not None and retry_after > self._pace.retry_after_cap_s:
                self._gate.give_up("throttled")
                return answer
            if attempt + 1 < self._pace.tries:
                ceiling = min(self._pace.backoff_cap_s, self._pace.backoff_s * 2**attempt)
                delay = random.uniform(0, ceiling)  # noqa: S311  # jitter, not a secret
                if retry_after is not None:
                    self._gate.pause(retry_after)
                await asyncio.sleep(delay)
        return answer

    async def burst(self, url: str, body: dict[str, Any], bearer: str | None, count: int) -> list[Answer]:
        """`count` equal requests at once, each sent a single time and past the shared pause: the question is whether
        the target slows anybody down. Each is charged to the budget, so this way round the limiter is capped too."""
        if origin(url) not in self._origins:
            return [Answer({}, None, None, "connect", "outside the declared origin")]
        await self._gate.wait()
        allowed = 0
        while allowed < count and self._gate.enter():
            allowed += 1
        if allowed < count:
            return [Answer({}, None, None, self._gate.stopped or "budget")]
        self.sent += count
        content, headers = encoded(body, bearer)
        answers = await asyncio.gather(*(self._once("POST", url, content, headers, self._decode) for _ in range(count)))
        if pauses := [after for _, after in answers if after is not None]:
            self._gate.pause(min(max(pauses), self._pace.retry_after_cap_s))
        return [answer for answer, _ in answers]

    async def _once(
        self, method: str, url: str, content: bytes | None, headers: dict[str, str], decode: Callable[[bytes], Any]
    ) -> tuple[Answer, float | None]:
        try:
            # The client's own timeout is per read; this one also ends a reply that drips for ever.
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(method, url, content=content, headers=headers) as response,
            ):
                parts: list[bytes] = []
                size = 0
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size > MAX_REPLY_BYTES:
                        return Answer({}, response.status_code, None, "too_large"), None
                    parts.append(part)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
            return Answer({}, None, None, "timeout"), None
        except httpx.DecodingError:
            return Answer({}, None, None, "malformed"), None
        except (httpx.HTTPError, OSError):
            return Answer({}, None, None, "connect"), None
        except (httpx.InvalidURL, ValueError, UnicodeError):
            return Answer({}, None, None, "malformed"), None
        raw = b"".join(parts)
        limits = any(name.startswith(_LIMIT_HEADERS) for name in response.headers)
        return replace(_classify(response, raw, decode), announces_limit=limits), _retry_after(response, raw)


def encoded(body: dict[str, Any] | bytes | None, bearer: str | None) -> tuple[bytes | None, dict[str, str]]:
    """Body and headers of a JSON request."""
    content = body if isinstance(body, bytes | None) else json.dumps(body, separators=(",", ":")).encode()
    headers = {} if content is None else {"content-type": "application/json"}
    return content, headers | ({"authorization": f"Bearer {bearer}"} if bearer else {})


def _classify(response: httpx.Response, raw: bytes, decode: Callable[[bytes], Any]) -> Answer:
    status = response.status_code
    sha = hashlib.sha256(raw).hexdigest()
    fine = 200 <= status < 300
    try:
        data = (decode if fine else json.loads)(raw) if raw else {}
    except (ValueError, RecursionError):
        data = None
    if fine:
        if not isinstance(data, dict):
            return Answer({}, status, sha, "malformed")
        return Answer(data, status, sha, None)
    body = raw[:2000].decode("utf-8", "replace")
    if _is_filter(data) or response.headers.get("x-aispm-decision") == "block":
        kind = "filtered"
    elif status == 429:
        kind = "throttled"
    elif status in (401, 403):
        kind = "auth"
    else:
        kind = f"http_{status}"
    return Answer({}, status, sha, kind, body)


def _is_filter(data: Any) -> bool:
    """Whether an error body names a content filter or a gateway's policy decision, wherever it names it."""
    if not isinstance(data, dict):
        return False
    places = [data]
    for _ in range(3):  # error, error.innererror
        places += [v for p in places for k, v in p.items() if k in ("error", "innererror") and isinstance(v, dict)]
    for place in places:
        for key in ("code", "type", "reason", "reason_code"):
            value = place.get(key)
            if isinstance(value, str) and (value in _FILTER_CODES or _GATEWAY_REASON.fullmatch(value)):
                # A rate limit or a budget of the gateway is a throttle, not a filter on content.
                return not value.startswith(("POLICY.RATE", "POLICY.BUDGET"))
    return False


def _retry_after(response: httpx.Response, raw: bytes) -> float | None:
    """Seconds, from either form of the header (RFC 9110 §10.2.3) or Google's `RetryInfo`; None when there is none."""
    value = response.headers.get("retry-after")
    if value is None:
        return None if response.status_code < 400 else _retry_info(raw)
    if value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _retry_info(raw: bytes) -> float | None:
    """`retryDelay` of a `google.rpc.RetryInfo` in an error body, such as `7s` or `0.5s`."""
    found = _RETRY_INFO.search(raw[:100_000])
    return float(found[1]) if found and b"google.rpc.RetryInfo" in raw else None
