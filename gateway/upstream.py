"""The client side: one request to a provider, with the provider's credential and nothing of the client's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from gateway.addresses import is_loopback
from gateway.reasons import Refusal
from gateway.resolver import GuardedResolver
from gateway.secrets import resolve_secret
from gateway.settings import Limits, Route
from gateway.sigv4 import environment_key, signer
from gateway.wire import APIS
from gateway.wire.format import JSON_TYPE


class Upstream:
    """The provider behind one route. Every failure of it is a Refusal `SYSTEM.BACKEND`."""

    def __init__(self, route: Route, limits: Limits) -> None:
        self._base = route.base_url.rstrip("/")
        self.domain = urlsplit(route.base_url).hostname or ""
        self._limits, self._allow_private = limits, route.allow_private
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "aispm-gateway"}
        self._authorize = APIS[route.api].authorize
        self._credential = None if route.credential is None else resolve_secret(route.credential)
        if route.aws_region is not None:
            self._credential = self._credential or environment_key()
            self._authorize = signer(self._credential, route.aws_region)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the connection pool; needs the running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._limits.upstream_connections,
                resolver=GuardedResolver(allow_private=self._allow_private, loopback=is_loopback(self.domain)),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._limits.connect_s, sock_read=self._limits.read_s
            ),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], *, repeatable: bool = True
    ) -> Sending:
        """`path` is below the route's `base_url` and sent as it is; `headers` come on top of the gateway's own."""
        if self._session is None:
            raise RuntimeError("start() comes first")
        address = self._base + path
        sent = {**headers, **self._headers}
        if body is not None:
            sent["Content-Type"] = JSON_TYPE
        if self._credential is not None:
            sent.update(self._authorize(self._credential, method, address, body or b""))
        return Sending(self._session, method, URL(address, encoded=True), body, sent, repeatable)

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body. Raises Refusal when it is larger than the limit."""
        pieces, size = [], 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > self._limits.response_bytes:
                raise Refusal("WIRE.LIMIT", "upstream", "response")
            pieces.append(piece)
        return b"".join(pieces)


class Sending:
    """`async with` gives the reply's status and headers; its body is read inside, where failures are translated too.

    A connection that the provider closed while idle is tried once more, since no byte of a reply had come; unless
    the request is not `repeatable`: it may have been acted on all the same.
    """

    __slots__ = ("_options", "_repeatable", "_response", "_session", "_what", "retries")

    def __init__(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        body: bytes | None,
        headers: Mapping[str, str],
        repeatable: bool,
    ) -> None:
        self._repeatable = repeatable
        self._session, self._what = session, (method, url)
        self._options: dict[str, Any] = {"data": body, "headers": headers, "allow_redirects": False}
        self._response: aiohttp.ClientResponse | None = None
        self.retries = 0

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            try:
                response = await self._session.request(*self._what, **self._options)
            except aiohttp.ServerDisconnectedError:
                if not self._repeatable:
                    raise
                self.retries = 1
                response = await self._session.request(*self._what, **self._options)
        except (TimeoutError, aiohttp.ClientError) as e:
            raise _translated(e) from None
        self._response = response
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise Refusal("WIRE.UNSCANNABLE", "upstream", "response")
        return response

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._response is not None:
            self._response.release()  # a connection whose reply was not read to its end is closed by this
        if isinstance(error, TimeoutError | aiohttp.ClientError):
            raise _translated(error) from None


def _translated(error: TimeoutError | aiohttp.ClientError) -> Refusal:
    if isinstance(error, TimeoutError):
        return Refusal("SYSTEM.BACKEND", "timeout", "response")
    detail = "connect" if isinstance(error, aiohttp.ClientConnectorError) else "cut_off"
    return Refusal("SYSTEM.BACKEND", detail, "response")


def check_status(status: int) -> None:
    """Raises Refusal for replies that say more about the gateway's account than the client may know.

    200 and client errors other than 401 and 403 pass.
    """
    if status in (401, 403):
        raise Refusal("SYSTEM.BACKEND", "credential", "response")
    if 300 <= status < 400:
        raise Refusal("SYSTEM.BACKEND", "redirect", "response")
    if status != 200 and not 400 <= status < 500:
        raise Refusal("SYSTEM.BACKEND", "status", "response")
