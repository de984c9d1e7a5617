"""Bounded HTTP towards one declared target: its origins only, no redirects, no proxies, capped, retried, never raising.

Whatever the far side does ends as an `Answer`. Every request is let through by the target's limiter and reserved in
the campaign's budget first.
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

from yarl import URL

from gateway.connections import BodyError, Connections, Exchange, ExchangeError, Reply, head_of, host_of, read_all
from tasks.targets.addresses import GuardedResolver, origin, refused_host
from tasks.targets.budget import Amount, Budget, Limits, Price
from tasks.targets.limiter import Limiter, Pass

MAX_REPLY_BYTES = 8 * 1024 * 1024
"""Of one reply; a chat answer is a few KiB, so more is an attack or a fault."""

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504, 529})
BUSY_STATUS = frozenset({429, 503, 529})
"""With a Retry-After these pause every worker; 529 is Anthropic's `overloaded_error`."""
UNSET_OUTPUT_TOKENS = 32_768
"""Reserved for a reply whose length the request does not limit."""
_FILTER_CODES = frozenset(
    {
        "content_filter",
        "content_filter_error",
        "content_policy_violation",
        "ResponsibleAIPolicyViolation",
        "GuardrailIntervened",
    }
)
_FILTER_MESSAGES = ("Output blocked by content filtering policy",)
"""Anthropic names its output filter in the message alone, under `invalid_request_error`."""
_RETRY_INFO = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,9}(?:\.\d{1,9})?)s"')
_GATEWAY_REASON = re.compile(
    r"(?:(?:DLP|INJECTION|EGRESS)\.[A-Z0-9_.]+|POLICY\.TOOL_[A-Z]+|WIRE\.UNSCANNABLE)(?::[a-z_]+)?"
)
"""Reason codes of an aispm gateway for what a request holds; its others say that nothing was asked at all."""

_LIMIT_HEADERS = ("x-ratelimit-", "x-rate-limit-", "ratelimit", "anthropic-ratelimit-", "retry-after")
"""Beginnings of header names by which services announce limits, in lower case."""

Signer = Callable[[str, str, bytes], Mapping[str, str]]
"""(method, url, body) -> headers that prove who asks; called anew for every try."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patiently a target is retried. Seconds."""

    tries: int = 5
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
    session: str | None = None
    """The id that an MCP server gave this conversation."""
    announces_limit: bool = False
    """The reply carries rate-limit headers (`x-ratelimit-…`, `ratelimit…`, `retry-after`)."""
    sent_bytes: int = 0
    """Of request bodies, over all tries."""
    tries: int = 0


@cache
def tls_context() -> ssl.SSLContext:
    """One for all sessions: each new one reads the system's certificates again."""
    return ssl.create_default_context()


class Wire:
    """One worker's connection to the declared origins. To be made inside the event loop that uses it.

    Raises ValueError when a URL is no plain http(s) address or names a metadata address.
    """

    def __init__(
        self,
        urls: tuple[str, ...],
        limiter: Limiter,
        *,
        timeout_s: float,
        budget: Budget | None = None,
        price: Price | None = None,
        pace: Pace | None = None,
        take: Callable[[], bool] = lambda: True,
        sending: Callable[[Amount], None] = lambda reserved: None,
        decode: Callable[[bytes], Any] = json.loads,
        user_agent: str = "aispm-probe",
    ) -> None:
        """`take` is asked before each request, beside the budget, and `sending` is told what was reserved for it.
        `decode` turns a body into an object; what it raises as ValueError is a malformed reply."""
        if refused := [host for _, host, _ in map(origin, urls) if refused_host(host)]:
            raise ValueError(f"{refused[0]} is a link-local or metadata address, which is never probed")
        self._limiter = limiter
        self._budget = budget or Budget(Limits())
        self._price = price
        self._pace = pace or Pace()
        self._take = take
        self._sending = sending
        self._decode = decode
        self._timeout_s = timeout_s
        self._headers = {"user-agent": user_agent, "accept-encoding": "identity", "accept": "application/json"}
        self._connections = {
            origin(url): Connections(url, GuardedResolver(), tls=tls_context(), decompress=True) for url in urls
        }
        self.sent = 0
        """Requests sent so far, repeated ones included."""
        self.micro_usd = 0
        """What they cost so far; an upper bound where no usage was reported."""

    async def close(self) -> None:
        for connections in self._connections.values():
            await connections.close()

    async def send(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | bytes | None,
        bearer: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        sign: Signer | None = None,
        output: int | None = 0,
        decode: Callable[[bytes], Any] | None = None,
    ) -> Answer:
        """One JSON request (bytes are sent as they are), repeated on 408, 429, 5xx, timeouts and broken connections.

        `output` is how many tokens the reply may have: 0 for what asks no model, None where the request sets no limit.
        """
        raw, before = _encode(body), self.sent
        chosen = _headers(bearer, headers)
        answer = await self._send(method, url, raw, chosen, sign, output, decode or self._decode)
        tries = self.sent - before
        return replace(answer, sent_bytes=tries * len(raw), tries=tries)

    async def _send(
        self,
        method: str,
        url: str,
        raw: bytes,
        headers: Mapping[str, str],
        sign: Signer | None,
        output: int | None,
        decode: Callable[[bytes], Any],
    ) -> Answer:
        if origin(url) not in self._connections:
            return Answer({}, None, None, "connect", "outside the declared origin")
        answer = Answer({}, None, None, "connect")
        for attempt in range(self._pace.tries):
            reserved = self._reservation(raw, output)
            leave = await self._limiter.enter(reserved.tokens)
            if leave is None:
                return Answer({}, None, None, self._limiter.stopped)
            if not self._take() or not self._budget.reserve(reserved):
                self._limiter.leave(leave, tokens=0)
                return Answer({}, None, None, "budget")
            self._sending(reserved)
            try:
                answer, retry_after = await self._once(method, url, raw, headers, sign, decode)
            except BaseException:  # cancelled, or the credentials for signing are gone: the slot must not be lost
                self._limiter.leave(leave)
                raise
            self._settle(leave, reserved, answer, output)
            if not (answer.error_kind in ("timeout", "connect") or answer.status in RETRIED_STATUS):
                return answer
            if answer.error_kind in ("filtered", "too_large"):
                return answer
            if retry_after is not None and retry_after > self._pace.retry_after_cap_s:
                self._limiter.give_up("throttled")
                return answer
            if retry_after is not None and answer.status in BUSY_STATUS:
                self._limiter.pause(retry_after)
            if attempt + 1 < self._pace.tries:
                ceiling = min(self._pace.backoff_cap_s, self._pace.backoff_s * 2**attempt)
                await asyncio.sleep(random.uniform(0, ceiling))  # noqa: S311  # jitter, not a secret
        return answer

    async def burst(
        self,
        url: str,
        body: Mapping[str, Any],
        bearer: str | None,
        count: int,
        headers: Mapping[str, str] | None = None,
    ) -> list[Answer]:
        """`count` equal requests at once, each sent a single time and past the limiter: the question is whether the
        target slows anybody down. All are reserved in the budget, so this way round the limiter is capped too."""
        if origin(url) not in self._connections:
            return [Answer({}, None, None, "connect", "outside the declared origin")]
        raw = _encode(body)
        one = self._reservation(raw, UNSET_OUTPUT_TOKENS)
        # One pass stands for all: it waits for a pause to end, and hears when the target has been given up.
        leave = await self._limiter.enter(one.tokens)
        if leave is None:
            return [Answer({}, None, None, self._limiter.stopped)]
        whole = Amount(count, one.tokens * count, one.micro_usd * count)
        if not self._budget.reserve(whole):
            self._limiter.leave(leave, tokens=0)
            return [Answer({}, None, None, "budget")]
        self._sending(whole)
        answers = await asyncio.gather(
            *(self._once("POST", url, raw, _headers(bearer, headers), None, self._decode) for _ in range(count))
        )
        used = [self._used(one, answer) for answer, _ in answers]
        total = Amount(count, sum(u.tokens for u in used), sum(u.micro_usd for u in used))
        self._budget.settle(whole, total)
        self._limiter.leave(leave)
        self.sent += count
        self.micro_usd += total.micro_usd
        if pauses := [after for _, after in answers if after is not None]:
            self._limiter.pause(min(max(pauses), self._pace.retry_after_cap_s))
        return [answer for answer, _ in answers]

    def _reservation(self, raw: bytes, output: int | None) -> Amount:
        """The upper bound: a token has at least one byte, so a prompt has no more tokens than its body has bytes."""
        if output == 0:
            return Amount(1)
        most = UNSET_OUTPUT_TOKENS if output is None else output
        return Amount(1, len(raw) + most, 0 if self._price is None else self._price.of(len(raw), most))

    def _used(self, reserved: Amount, answer: Answer) -> Amount:
        """What a request came to. A refusal by status costs no tokens; silence about usage costs all that was kept."""
        if answer.status is not None and answer.status >= 400:
            return Amount(1)
        usage = usage_of(answer.data)
        if usage is None:
            return reserved
        return Amount(1, sum(usage), 0 if self._price is None else self._price.of(*usage))

    def _settle(self, leave: Pass, reserved: Amount, answer: Answer, output: int | None) -> None:
        used = Amount(1) if output == 0 else self._used(reserved, answer)
        self._budget.settle(reserved, used)
        self.sent += 1
        self.micro_usd += used.micro_usd
        throttled = answer.error_kind == "throttled"
        broken = answer.error_kind in ("timeout", "connect") or (answer.status or 0) >= 500
        self._limiter.leave(leave, failed=broken and not throttled, throttled=throttled, tokens=used.tokens)

    async def _once(
        self,
        method: str,
        url: str,
        raw: bytes,
        headers: Mapping[str, str],
        sign: Signer | None,
        decode: Callable[[bytes], Any],
    ) -> tuple[Answer, float | None]:
        encoded = ""
        try:
            proof = sign(method, url, raw) if sign is not None else {}
            head = self._head(method, url, {**headers, **proof}, len(raw))
            exchange = Exchange(self._connections[origin(url)], method, head, raw, repeatable=False)
            async with asyncio.timeout(self._timeout_s), exchange as reply:
                encoded = reply.headers.get("content-encoding", "")
                body = await read_all(reply.content, MAX_REPLY_BYTES)
                if body is None:
                    exchange.give_up()
                    return Answer({}, reply.status, None, "too_large"), None
        except TimeoutError:
            return Answer({}, None, None, "timeout"), None
        except BodyError:
            return Answer({}, None, None, "malformed" if encoded else "connect"), None
        except ValueError:
            return Answer({}, None, None, "malformed"), None
        except (ExchangeError, OSError):
            return Answer({}, None, None, "connect"), None
        return _classify(reply, body, decode), _retry_after(reply, body)

    def _head(self, method: str, url: str, headers: Mapping[str, str], length: int) -> bytes:
        """Ours, and over them what the target needs, whatever the case of its letters. Raises ValueError for a header
        that would be several."""
        sent = {"host": host_of(url), **self._headers, **{name.lower(): value for name, value in headers.items()}}
        if length or method not in ("GET", "DELETE"):
            sent["content-length"] = str(length)
        return head_of(method, URL(url, encoded=True).raw_path_qs, sent)


def _encode(body: Mapping[str, Any] | bytes | None) -> bytes:
    if body is None or isinstance(body, bytes):
        return body or b""
    try:
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only the escaped form can carry
        return json.dumps(body, separators=(",", ":")).encode()


def _headers(bearer: str | None, more: Mapping[str, str] | None) -> dict[str, str]:
    proof = {"authorization": f"Bearer {bearer}"} if bearer else {}
    return {"content-type": "application/json", **proof, **(more or {})}


_USAGE_PLACES = (
    ("usage", "prompt_tokens", "completion_tokens"),
    ("usage", "input_tokens", "output_tokens"),
    ("usage", "inputTokens", "outputTokens"),
    ("usageMetadata", "promptTokenCount", "candidatesTokenCount"),
)


def usage_of(data: Mapping[str, Any]) -> tuple[int, int] | None:
    """(prompt, reply) tokens as any of the known formats reports them; None when it does not."""
    for place, key_in, key_out in _USAGE_PLACES:
        usage = data.get(place)
        if isinstance(usage, dict) and _is_count(usage.get(key_in)):
            reply = usage.get(key_out, 0)  # Gemini leaves it out of a blocked reply
            # Gemini counts thinking apart from the candidates, and bills both.
            thought = usage.get("thoughtsTokenCount", 0)
            if _is_count(reply) and _is_count(thought):
                return usage[key_in], reply + thought
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _classify(reply: Reply, raw: bytes, decode: Callable[[bytes], Any]) -> Answer:
    status, headers = reply.status, reply.headers
    sha = hashlib.sha256(raw).hexdigest()
    fine = 200 <= status < 300
    if headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream":
        raw = _last_message(raw)
    try:
        data = (decode if fine else json.loads)(raw) if raw else {}
    except (ValueError, RecursionError):
        data = None
    body, kind = "", None
    if fine:
        kind = None if isinstance(data, dict) else "malformed"
    else:
        body = raw[:2000].decode("utf-8", "replace")
        if _is_filter(data) or headers.get("x-aispm-decision") == "block":
            kind = "filtered"
        elif status == 429:
            kind = "throttled"
        elif status in (401, 403):
            kind = "auth"
        else:
            kind = f"http_{status}"
    return Answer(
        data if kind is None and isinstance(data, dict) else {},
        status,
        sha,
        kind,
        body,
        session=headers.get("mcp-session-id"),
        announces_limit=any(name.lower().startswith(_LIMIT_HEADERS) for name in headers),
    )


def _last_message(raw: bytes) -> bytes:
    """The reply among server-sent events: the last one's data (MCP's answer follows its notifications)."""
    data: list[bytes] = []
    message = b""
    for line in [*raw.splitlines(), b""]:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            message, data = b"\n".join(data), []
    return message


def _is_filter(data: Any) -> bool:
    """Whether an error body names a content filter or a gateway's policy decision, wherever it names it."""
    if not isinstance(data, dict):
        return False
    places = [data]
    for _ in range(3):  # error, error.innererror
        places += [v for p in places for k, v in p.items() if k in ("error", "innererror") and isinstance(v, dict)]
    for place in places:
        if place.get("message") in _FILTER_MESSAGES:
            return True
        for key in ("code", "type", "reason", "reason_code"):
            value = place.get(key)
            if isinstance(value, str) and (value in _FILTER_CODES or _GATEWAY_REASON.fullmatch(value)):
                return True
    return False


def _retry_after(reply: Reply, raw: bytes) -> float | None:
    """Seconds, from either form of the header (RFC 9110 §10.2.3) or Google's `RetryInfo`; None when there is none."""
    value = reply.headers.get("retry-after")
    if value is None:
        return None if reply.status < 400 else _retry_info(raw)
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
