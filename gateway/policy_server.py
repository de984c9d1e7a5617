"""`python -m gateway.policy_server --folder published`: serves signed policies to gateways.

It holds no key. It verifies what lies in the folder as a gateway would and serves the newest pair of root and policy
that fit together; what does not verify is never served, so a publication that was interrupted half-way changes
nothing. Gateways verify everything again: whoever takes over this server can delay a policy, not write one.

    GET /policy           the policy: signature lines, an empty line, the document. `If-None-Match` and
                          `Prefer: wait=25` hold the answer until there is another one (RFC 7240)
    GET /root/<version>   that root, in the same form
    GET /status           which gateway has which version in force, JSON
    GET /healthz          200 while there is something to serve
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import re
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvloop

from gateway.addresses import is_loopback
from gateway.errors import AispmError, ConfigError
from gateway.http_server import Answer, HttpServer, Request, json_answer
from gateway.listen import bind, tls_context
from gateway.policy import root
from gateway.policy.bundle import Policy
from gateway.policy.chain import Document, TrustedSet
from gateway.policy.files import PublishedFolder, read_document
from gateway.policy.refused import DETAILS
from gateway.secrets import resolve_secret
from gateway.settings import Listen

log = logging.getLogger("gateway.policy_server")

SCHEMA, STATUS_SCHEMA = "aispm.policy_server/1", "aispm.policy_status/1"
LONGEST_HOLD = 25
"""Seconds; polls that are held this long end up to a fifth earlier, so that they do not all end together."""
LOOK_SECONDS = 0.25
"""How often the folder is looked at: three `stat` calls, and the delay of a publication."""

_ROOT_FILE = re.compile(r"root\.([1-9][0-9]{0,8})\.json")
_ROOT_PATH = re.compile(r"/root/([1-9][0-9]{0,8})")
_WAIT = re.compile(r"wait=([0-9]{1,3})")
_APPLIED = re.compile(r"[0-9]{1,16}\.[0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class Publication:
    """One moment of the folder, verified."""

    policy: Policy
    document: Document
    roots: dict[int, Document]
    root_version: int

    @property
    def etag(self) -> str:
        return f'"{self.root_version}-{self.policy.sha256[:32]}"'


@dataclass(frozen=True, slots=True)
class Beat:
    """What a gateway last said about itself."""

    applied: str
    refused: str
    at: float
    """Monotonic seconds."""


def read_publication(folder: Path) -> Publication:
    """What `folder` offers, from its oldest root on. Raises ConfigError or PolicyError."""
    versions = sorted(
        int(found[1]) for path in folder.glob("root.*.json") if (found := _ROOT_FILE.fullmatch(path.name))
    )
    if not versions:
        raise ConfigError("there is no root.<version>.json; publish one first", folder)
    first = read_document(folder / f"root.{versions[0]}.json", root.MAX_BYTES)
    trusted = TrustedSet(first)
    roots = {trusted.root.version: first}
    source = PublishedFolder(folder / "policy.json")
    while (step := source.root(trusted.root.version + 1)) is not None:
        trusted.update_root(step)
        roots[trusted.root.version] = step
    document = source.policy()
    return Publication(trusted.genuine(document), document, roots, trusted.root.version)


class PolicyServer:
    """`token`: what gateways must show as bearer key; None on loopback only."""

    def __init__(self, folder: Path, token: str | None) -> None:
        self._folder, self._token = folder, token
        self._seen: object = None
        self._current: Publication | None = None
        self._changed = asyncio.Event()
        self._beats: dict[str, Beat] = {}

    async def watch(self) -> None:
        """Until cancelled: take over what is published."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Take over what is published now, if it is new and holds."""
        seen = [_stamp(self._folder / name) for name in ("", "policy.json", "policy.json.sig")]
        if seen == self._seen:
            return
        self._seen = seen
        try:
            found = await asyncio.to_thread(read_publication, self._folder)
        except AispmError as e:
            log.error("not served: %s", e)
            return
        current = self._current
        if current is not None:
            if _order(found) < _order(current):
                log.error("not served: %s is older than what is served", self._folder)
                return
            if found.etag == current.etag:
                return
        self._current = found
        self._changed.set()
        self._changed = asyncio.Event()
        policy = found.policy
        log.info("serving policy version %d, epoch %d, root %d", policy.version, policy.epoch, found.root_version)

    async def handle(self, request: Request) -> Answer:
        """Answer one request."""
        if request.method != "GET":
            return Answer(405, {"Allow": "GET"})
        path, _, query = request.raw_path.partition("?")
        if path == "/healthz":
            return Answer(200 if self._current is not None else 503, {})
        if self._token is not None:
            shown = request.headers.get("Authorization", "").encode()
            if not secrets.compare_digest(shown, f"Bearer {self._token}".encode()):
                return Answer(401, {"WWW-Authenticate": "Bearer"})
        if path == "/policy":
            return await self._policy(request, dict(parse_qsl(query)))
        if path == "/status":
            return json_answer(200, self.status())
        current = self._current
        found = _ROOT_PATH.fullmatch(path)
        if found is None or current is None or (step := current.roots.get(int(found[1]))) is None:
            return Answer(404, {})
        return _framed(step)

    async def _policy(self, request: Request, told: Mapping[str, str]) -> Answer:
        self._hear(told)
        known = request.headers.get("If-None-Match")
        current = self._current
        if current is None or known == current.etag:
            await self._hold(request)
            current = self._current
            self._hear(told)  # it is there still
        if current is None:
            return Answer(503, {})
        if known == current.etag:
            return Answer(304, {"ETag": current.etag})
        return _framed(current.document, {"ETag": current.etag})

    async def _hold(self, request: Request) -> None:
        asked = _WAIT.search(request.headers.get("Prefer", ""))
        seconds = min(int(asked[1]) if asked else 0, LONGEST_HOLD)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(0.8, 1.0)):  # noqa: S311 - spreads load, guards nothing
                await self._changed.wait()

    def _hear(self, told: Mapping[str, str]) -> None:
        """Note a gateway's report. Only names in the policy's audience are kept, which bounds the table."""
        gateway, applied, refused = (told.get(name, "") for name in ("gateway", "applied", "refused"))
        if self._current is not None and gateway in self._current.policy.audience and _APPLIED.fullmatch(applied):
            self._beats[gateway] = Beat(applied, refused if refused in DETAILS else "", time.monotonic())

    def status(self) -> dict[str, Any]:
        """Who has what in force; gateways of the audience that were never heard of too."""
        current, now = self._current, time.monotonic()
        if current is None:
            return {"schema": STATUS_SCHEMA, "policy": None, "gateways": []}
        policy = current.policy
        newest = f"{policy.epoch}.{policy.version}"
        gateways: list[dict[str, Any]] = []
        for name in policy.audience:
            beat = self._beats.get(name)
            gateways.append(
                {
                    "gateway_id": name,
                    "applied": None if beat is None else beat.applied,
                    "current": beat is not None and beat.applied == newest,
                    "refused": (beat.refused or None) if beat is not None else None,
                    "seen_s": None if beat is None else round(now - beat.at, 1),
                }
            )
        return {
            "schema": STATUS_SCHEMA,
            "policy": {
                "epoch": policy.epoch,
                "version": policy.version,
                "root_version": current.root_version,
                "sha256": policy.sha256,
                "expires": policy.expires.isoformat(),
            },
            "gateways": gateways,
        }


def _framed(document: Document, headers: dict[str, str] | None = None) -> Answer:
    said = {"Content-Type": "application/octet-stream", "Cache-Control": "no-store", **(headers or {})}
    return Answer(200, said, document.framed())


def _order(publication: Publication) -> tuple[int, int, int]:
    return publication.root_version, publication.policy.epoch, publication.policy.version


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


async def run(folder: Path, listen: Listen, token: str | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    server, stop, loop = PolicyServer(folder, token), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await server.look()
    watching = asyncio.create_task(server.watch())
    where = bind(listen.host, listen.port, shared=False)
    http = HttpServer(server.handle)
    url = await http.start(where, tls_context(listen))
    try:
        sys.stdout.write(json.dumps({"schema": SCHEMA, "pid": os.getpid(), "url": url}) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        watching.cancel()
        await http.close(1.0)


def main(arguments: list[str] | None = None) -> int:
    """The exit code; see `gateway.errors`."""
    parser = argparse.ArgumentParser(prog="python -m gateway.policy_server", description="Serves signed policies.")
    parser.add_argument("--folder", type=Path, required=True, help="published folder: policy.json, root.<n>.json")
    parser.add_argument("--host", default="127.0.0.1", help="beyond loopback only with TLS and --token")
    parser.add_argument("--port", type=int, default=8444, help="0 = any free port")
    parser.add_argument("--tls-cert", type=Path, help="PEM, with its chain")
    parser.add_argument("--tls-key", type=Path, help="PEM")
    parser.add_argument("--token", help="reference to the token gateways must show: env:NAME or file:PATH")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        if not options.folder.is_dir():
            raise ConfigError("no such folder", options.folder)
        if not is_loopback(options.host) and not (options.tls_cert and options.tls_key and options.token):
            raise ConfigError("beyond loopback give --tls-cert, --tls-key and --token: policies are confidential")
        listen = Listen(host=options.host, port=options.port, tls_cert=options.tls_cert, tls_key=options.tls_key)
        token = None if options.token is None else resolve_secret(options.token)
        uvloop.run(run(options.folder, listen, token))
    except AispmError as e:
        sys.stderr.write(f"error: {e}\n")
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
