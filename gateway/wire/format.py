"""What the gateway must know of a provider's API: paths, keys, and where a body keeps texts, tools and counts. No I/O.

An `Api` is what a route speaks; its `Endpoint`s are the paths that are answered, all others are refused; a `Format`
reads the bodies of one kind of endpoint, a `Stream` one streamed reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gateway.fields import Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal

JSON_TYPE, SSE_TYPE = "application/json", "text/event-stream"
MODEL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""Names of models that may stand in a path, as they are written there."""


class Usage(NamedTuple):
    """Tokens as the provider counted them, None where it did not say. `tokens_cached` are part of `tokens_in`."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None


def count(value: Any) -> int | None:
    """A number of tokens, if it is one."""
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def word(value: Any, key: str) -> str:
    """The text at `value[key]` that says what a body or part of it is; empty for anything that says nothing."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


class Stream(Protocol):
    """One streamed reply. `feed` and `end` raise Refusal; after that only what `error` returns may be sent."""

    @property
    def done(self) -> bool:
        """Whether the provider said that nothing more comes; what follows is not read."""

    @property
    def complete(self) -> bool:
        """Whether the reply is whole, though the provider may have closed the connection without saying so."""

    @property
    def usage(self) -> Usage:
        """The counts so far."""

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """What may be sent to the client now that `raw` has arrived, checked piece by piece."""

    def end(self) -> bytes:
        """What is left once the reply is whole, and what the format ends with."""

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """The last thing a client reads when the stream has to stop."""


class Format(Protocol):
    """Reader of one kind of body.

    The `read_…` methods collect texts into `fields` and tell `inspection` of tools; they raise Refusal for what is
    malformed or cannot be inspected. What they collected is scanned afterwards, so they decide nothing by content.
    """

    name: str
    """In events as `wire_format`."""
    stream_type: str
    """Media type of a streamed reply."""

    def streamed(self, body: Any) -> bool:
        """Whether the body asks for a stream; for endpoints whose path does not say it."""

    def read_request(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Collect a request; it may be changed where the gateway needs more of the reply (token counts of streams)."""

    def read_response(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Collect a whole reply of status 200."""

    def stream(self, inspection: Inspection) -> Stream:
        """The reader of a streamed reply."""

    def usage(self, body: Any) -> Usage:
        """The counts in a whole reply."""

    def output_cap(self, body: Any) -> int | None:
        """The most tokens that each choice of the reply may have; None when the request sets no bound."""

    def set_output_cap(self, body: Any, tokens: int) -> None:
        """Set that bound."""

    def choices(self, body: Any) -> int:
        """How many answers the request asks for, each with its own cap."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of an API."""

    path: str
    """Below the route's prefix, matched byte for byte; `{model}` stands for a name that matches `models`."""
    upstream: str
    """Below the route's `base_url`; `{model}` as in `path`."""
    format: Format | None
    """None: a GET whose reply is JSON without a special shape."""
    streamed: bool | None = None
    """Whether the reply is a stream; None when the request's body says it."""
    models: str = MODEL
    methods: tuple[str, ...] = ()
    """Of the path where it is not one only."""

    @property
    def method(self) -> str:
        """The one method that is answered."""
        return "GET" if self.format is None else "POST"

    def answers(self, method: str) -> bool:
        """Whether requests of this method are answered."""
        return method in (self.methods or (self.method,))

    def pattern(self, prefix: str) -> re.Pattern[str]:
        """Matches the whole raw path, with the model's name as group `model`."""
        before, _, after = self.path.partition("{model}")
        return re.compile(f"{re.escape(prefix + before)}(?P<model>{self.models}){re.escape(after)}", re.ASCII)


Authorize = Callable[[str, str, str, bytes], Mapping[str, str]]
"""(credential, method, URL, body) -> the headers that show the provider who asks."""


@dataclass(frozen=True, slots=True)
class Api:
    """How a provider is spoken to."""

    endpoints: tuple[Endpoint, ...]
    key_headers: tuple[str, ...]
    """Where clients put their key: exactly one of these headers, exactly once. `Authorization` holds a bearer key."""
    authorize: Authorize
    error_body: Callable[[Refusal, str], dict[str, Any]]
    """(refusal, request id) -> the error as the provider's own clients read it; holds nothing of the client's text."""
    client_headers: frozenset[str] = field(default_factory=frozenset)
    """Headers of the client, in lower case, that are passed on after a scan; all others are dropped."""
    reply_headers: frozenset[str] = field(default_factory=frozenset)
    """Headers of whole replies that clients need to make sense of them, passed on likewise."""


def bearer(credential: str, method: str, url: str, body: bytes) -> Mapping[str, str]:
    """`Authorize` for providers that take a bearer key (RFC 6750)."""
    return {"Authorization": f"Bearer {credential}"}


def explain(refusal: Refusal) -> str:
    """A sentence for people, the same in every format."""
    if refusal.code.startswith(("DLP.", "POLICY.TOOL")):
        return f"Blocked by policy ({refusal.scope}): {refusal.says}"
    return f"{refusal.says[0].upper()}{refusal.says[1:]}" + (f" ({refusal.detail})" if refusal.detail else "")


def code(refusal: Refusal) -> str:
    """The reason for programs: `CODE` or `CODE:detail`."""
    return refusal.code if refusal.detail is None else f"{refusal.code}:{refusal.detail}"


def malformed(scope: str) -> Refusal:
    """For a body that is not of the shape its format prescribes."""
    return Refusal("WIRE.MALFORMED", "shape" if scope == "request" else "upstream", scope)


def unscannable(scope: str, detail: str = "part") -> Refusal:
    """For content, or (`option`) a setting, that would carry content past the filter."""
    return Refusal("WIRE.UNSCANNABLE", detail if scope == "request" else "upstream", scope)
