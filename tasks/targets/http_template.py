"""Any JSON-over-HTTP service: the inventory writes the request as a template and says where the answer stands.

    http:
      path: /ask
      headers: {x-api-key: "env:ASK_KEY"}
      body: {question: "{{ prompt }}", tenant: 7, context: "{{ system }}"}
      answer: /data/0/text            # JSON Pointer (RFC 6901)

A template can name variables and the filters below; there is nothing else to be evaluated in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from gateway.secrets import resolve_secret
from tasks.errors import ConfigError
from tasks.records import Asset
from tasks.targets.credentials import bearer_of, url_of
from tasks.targets.openai_chat import Talk, burst_reply, with_tries
from tasks.targets.target import NEW_SESSION, Reply, Request
from tasks.targets.wire import Wire

VARIABLES = frozenset({"prompt", "system", "history", "messages", "model"})
"""The turn's text; the system prompt; earlier turns as text; all turns as a list; the declared model."""
FILTERS: Mapping[str, Callable[[str], str]] = {
    "trim": str.strip,
    "url": lambda text: quote(text, safe=""),
    "base64": lambda text: base64.b64encode(text.encode("utf-8", "replace")).decode(),
}
METHODS = ("POST", "PUT", "PATCH")
_FIELDS = frozenset({"method", "path", "headers", "body", "answer"})
_HOLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type"})
_PATH = re.compile(r"(/[A-Za-z0-9._~%!$&'()*+,;=:@-]*)*(\?[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*)?")


class HttpTemplate:
    """One service. Raises ConfigError for a template that is not one, before anything is sent."""

    def __init__(self, asset: Asset, wire: Wire) -> None:
        self._asset = asset
        self._wire = wire
        declared = checked(asset)
        self._method = str(declared.get("method", "POST"))
        self._url = url_of(asset).rstrip("/") + str(declared.get("path", ""))
        self._body = declared["body"]
        self._answer = str(declared["answer"])
        self._headers = {
            str(name).lower(): resolve_secret(value) if _is_reference(value) else str(value)
            for name, value in declared.get("headers", {}).items()
        }
        self._model = str(asset.props.get("model", asset.name))

    async def close(self) -> None:
        await self._wire.close()

    async def converse(self, request: Request) -> Reply:
        bearer = bearer_of(self._asset, request.principal)
        before = self._wire.sent
        if request.burst:
            body = self._filled(request, [], request.turns[0][1])
            answers = await self._wire.burst(self._url, body, bearer, request.burst, self._headers)
            return burst_reply(body, answers, self._wire.sent - before)
        talk = Talk()
        error = await self._hold(request, talk, bearer)
        return with_tries(talk.reply(error), None, self._wire.sent - before)

    async def _hold(self, request: Request, talk: Talk, bearer: str | None) -> str | None:
        said: list[tuple[str, str]] = []
        for i, (role, content) in enumerate(request.turns):
            if not request.due(i, talk.last):
                continue
            if role == NEW_SESSION:
                said = []
                continue
            following = request.turns[i + 1][0] if i + 1 < len(request.turns) else None
            if role != "user" or following == "assistant":
                said.append((role, content))
                continue
            body = self._filled(request, said, content)
            talk.sending(body)
            answer = await self._wire.send(
                self._method, self._url, body, bearer, headers=self._headers, output=request.max_tokens
            )
            if answer.error_kind is not None:
                return answer.error_kind
            talk.responses.append(answer.response_sha256 or "")
            text = pointed(answer.data, self._answer)
            if not isinstance(text, str):
                return "malformed"
            talk.count_usage(answer)
            if text:
                talk.texts.append(text)
            said += [(role, content), ("assistant", text)]
        talk.finish = "stop"
        return None

    def _filled(self, request: Request, said: list[tuple[str, str]], prompt: str) -> dict[str, Any]:
        turns = [*said, ("user", prompt)]
        values: dict[str, Any] = {
            "prompt": prompt,
            "system": request.system or "",
            "history": "\n".join(f"{role}: {content}" for role, content in said),
            "messages": [{"role": role, "content": content} for role, content in turns],
            "model": self._model,
        }
        filled = fill(self._body, values)
        return dict(filled)


def checked(asset: Asset) -> Mapping[str, Any]:
    """The declared template. Raises ConfigError that names the asset and what to correct."""

    def wrong(why: str) -> ConfigError:
        return ConfigError(f"{asset.asset_id}: {why}")

    declared = asset.props.get("http")
    if not isinstance(declared, Mapping) or not isinstance(declared.get("body"), Mapping):
        raise wrong("an HTTP target needs `http: {body: {…}, answer: /pointer}` in its props")
    if unknown := sorted(set(declared) - _FIELDS):
        raise wrong(f"unknown field `{unknown[0]}` in `http`; known are {', '.join(sorted(_FIELDS))}")
    if declared.get("method", "POST") not in METHODS:
        raise wrong(f"`http.method` is one of {', '.join(METHODS)}")
    if not _PATH.fullmatch(str(declared.get("path", ""))) or ".." in str(declared.get("path", "")):
        raise wrong("`http.path` must be a plain path below the declared url")
    pointer = declared.get("answer")
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise wrong("`http.answer` must be a JSON Pointer such as /choices/0/text")
    headers = declared.get("headers", {})
    if not isinstance(headers, Mapping):
        raise wrong("`http.headers` is a mapping of names to `env:NAME`, `file:PATH` or plain text")
    for name, value in headers.items():
        if not _HEADER.fullmatch(str(name)) or str(name).lower() in _OWN_HEADERS:
            raise wrong(f"the header `{name}` cannot be set")
        if not isinstance(value, str) or not value.isprintable() or "{{" in value:
            raise wrong(f"the header `{name}` must be one line of text without placeholders, or a reference")
    used = _check(declared["body"], wrong)
    if not used & {"prompt", "messages"}:
        raise wrong("`http.body` must name {{ prompt }} or {{ messages }}, else no attack reaches the target")
    return declared


def variables_of(asset: Asset) -> frozenset[str]:
    """Which variables the template of an asset uses."""
    return frozenset(_check(checked(asset)["body"], lambda why: ConfigError(why)))


def _check(value: Any, wrong: Callable[[str], ConfigError]) -> set[str]:
    if isinstance(value, Mapping):
        if odd := [k for k in value if not isinstance(k, str) or "{{" in k]:
            raise wrong(f"the key {odd[0]!r} in `http.body` must be plain text")
        return set().union(*(_check(v, wrong) for v in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(_check(v, wrong) for v in value))
    if not isinstance(value, str):
        return set()
    used: set[str] = set()
    for hole in _HOLE.findall(value):
        name, filters = _parts(hole)
        if name not in VARIABLES:
            raise wrong(f"unknown variable {name!r} in `http.body`; known are {', '.join(sorted(VARIABLES))}")
        if bad := [f for f in filters if f not in FILTERS]:
            raise wrong(f"unknown filter {bad[0]!r} in `http.body`; allowed are {', '.join(sorted(FILTERS))}")
        if name == "messages" and (filters or _HOLE.sub("", value)):
            raise wrong("{{ messages }} is a list: it stands alone and takes no filter")
        used.add(name)
    if "{{" in _HOLE.sub("", value) or "{%" in value:
        raise wrong(f"{value!r} in `http.body` is no placeholder; only {{{{ variable | filter }}}} is")
    return used


def _parts(hole: str) -> tuple[str, list[str]]:
    name, *filters = (part.strip() for part in hole.split("|"))
    return name, filters


def fill(value: Any, values: Mapping[str, Any]) -> Any:
    """`value` with every placeholder replaced, in one pass: what is put in is never read as a template."""
    if isinstance(value, Mapping):
        return {key: fill(v, values) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [fill(v, values) for v in value]
    if not isinstance(value, str):
        return value
    if (whole := _HOLE.fullmatch(value)) and _parts(whole[1])[0] == "messages":
        return values["messages"]

    def put(match: re.Match[str]) -> str:
        name, filters = _parts(match[1])
        text = str(values[name])
        for one in filters:
            text = FILTERS[one](text)
        return text

    return _HOLE.sub(put, value)


def pointed(data: Any, pointer: str) -> Any:
    """What a JSON Pointer leads to (RFC 6901); None when it leads nowhere."""
    for raw in pointer.split("/")[1:]:
        key = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and key.isascii() and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        else:
            return None
    return data


def _is_reference(value: str) -> bool:
    return value.startswith(("env:", "file:"))
