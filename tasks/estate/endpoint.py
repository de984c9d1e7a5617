"""What the estate's HTTP services share around the model: keys, throttling, error bodies, cross-origin headers."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tasks.estate.variants import Variant

BURST = 400
"""Requests that may come at once before a hardened service throttles."""
PER_SECOND = 200.0
"""Requests per second at which a hardened service refills its allowance."""
MAX_TOKENS = 4096
"""Longest completion a hardened service grants."""

CONTEXT_TOKENS = 16_384
"""Longest conversation any service reads."""

PRINCIPAL = web.RequestKey("principal", str)
"""Who sent a request, by its key."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):  # noqa: N818 - a reply, not a failure of this program
    """A request the service answers with an error body."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


@dataclass(slots=True)
class Front:
    """The outer layer of one service. `principals` maps bearer keys to who they stand for."""

    variant: Variant
    principals: Mapping[str, str]
    open_to_all: bool = False
    """Serve without a valid key."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Configuration that a careless error body would show; never a key."""
    public: tuple[str, ...] = ()
    """Beginnings of paths that need no key."""
    _allowance: float = BURST
    _refilled: float = 0.0

    def application(self) -> web.Application:
        return web.Application(middlewares=[self.middleware], client_max_size=4 * 2**20)

    def principal(self, request: web.Request) -> str:
        """Who calls; raises Refused(401) when the key is wrong and the service minds."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        known = self.principals.get(key.strip()) if scheme.lower() == "bearer" else None
        if known is None and not self.open_to_all:
            raise Refused(401, "invalid_api_key", "The API key is missing or not valid.")
        return known or "anonymous"

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def layer(request: web.Request, handler: Handler) -> web.StreamResponse:
            headers = self._limits()
            if "permissive_cors" in self.variant and (origin := request.headers.get("Origin")):
                headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
            try:
                if headers.get("x-ratelimit-remaining-requests") == "0":
                    raise Refused(429, "rate_limit_exceeded", "Too many requests; try again later.")
                if request.method == "OPTIONS" and "permissive_cors" in self.variant:
                    return web.Response(
                        status=204,
                        headers=headers | {"Access-Control-Allow-Headers": "*", "Access-Control-Allow-Methods": "*"},
                    )
                if not request.path.startswith(self.public or ("\0",)):
                    request[PRINCIPAL] = self.principal(request)
                response = await handler(request)
            except Refused as e:
                response = self._error(e.status, e.kind, e.message)
                if e.status == 429:
                    response.headers["Retry-After"] = "1"
            except web.HTTPException as e:
                response = self._error(e.status, "not_found" if e.status == 404 else "invalid_request_error", e.reason)
            except Exception as e:  # noqa: BLE001 - a service answers 500 rather than dropping the connection
                response = self._error(500, "server_error", "Something went wrong.", e)
            if not response.prepared:
                response.headers.update(headers)
            return response

        return layer

    async def body(self, request: web.Request) -> dict[str, Any]:
        """The JSON object of a request. Raises Refused(400) on anything else."""
        try:
            data = json.loads(await request.read())
        except ValueError as e:
            raise Refused(400, "invalid_request_error", self._detail("The body is not valid JSON.", e)) from None
        if not isinstance(data, dict):
            raise Refused(400, "invalid_request_error", "The body must be a JSON object.")
        return data

    def _limits(self) -> dict[str, str]:
        if "no_rate_limit" in self.variant:
            return {}
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._refilled) * PER_SECOND)
        self._refilled = now
        left = self._allowance >= 1
        self._allowance -= 1 if left else 0
        return {
            "x-ratelimit-limit-requests": str(BURST),
            "x-ratelimit-remaining-requests": str(max(1, int(self._allowance)) if left else 0),
        }

    def _detail(self, message: str, error: Exception) -> str:
        if "verbose_errors" not in self.variant:
            return message
        trace = "".join(traceback.format_exception(error))
        return f"{message}\n{trace}\nsettings: {json.dumps(dict(self.settings))}"

    def _error(self, status: int, kind: str, message: str, error: Exception | None = None) -> web.Response:
        text = self._detail(message, error) if error else message
        return web.json_response({"error": {"message": text, "type": kind, "code": kind}}, status=status)


def flat_text(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def tokens(text: str) -> int:
    """A rough count: one token for four characters."""
    return (len(text) + 3) // 4
