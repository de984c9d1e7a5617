"""Services that speak OpenAI's wire format: what they list, and, where the owner allows it, how they answer strangers.

Declared assets that speak an OpenAI format are listed (GET /models); `llm_endpoint` assets with `active: true`
get a few more small requests; their status codes and headers are recorded, never their texts, times or tokens.
A reply of 5xx, or none, leaves its fact out: the checks on it come out as unknown.
"""

from __future__ import annotations

import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import httpx

from gateway.secrets import resolve_secret
from tasks.discovery.inventory import InventoryAsset
from tasks.discovery.natural_keys import is_loopback
from tasks.discovery.source import MAX_BODY, SourceContext, clean, refuse_metadata_address
from tasks.errors import AispmError, ConfigError
from tasks.records import AssetKind, Completeness, EdgeRef, Observation, ProofLabel, SourceResult

MAX_MODELS = 200
"""Undeclared models taken from one listing."""
HUGE_MAX_TOKENS = 10_000_000
"""More than any model's context: a service with a ceiling refuses it."""
OPEN_ROUTES = ("docs", "openapi.json", "metrics")
LEAKS = {
    "stack trace": re.compile(r"Traceback \(most recent call last\)|\n\s+at [\w.$<>]+\(|File \"[^\"]+\", line \d+"),
    "key": re.compile(r"\bsk-[A-Za-z0-9_*-]{6,}|\bBearer [A-Za-z0-9._-]{12,}"),
    "system prompt": re.compile(r"system[_ ]prompt|\byou are (an?|the) [^.\n]{0,60}assistant", re.IGNORECASE),
    "file path": re.compile(r"(/usr/|/home/|/app/|/opt/|/srv/|[A-Z]:\\\\)[\w./\\-]+\.py\b"),
}
_LOCAL_OWNERS = ("vllm", "ollama", "library", "llamacpp", "llama.cpp", "tgi", "self-hosted", "self_hosted", "local")


class Model(NamedTuple):
    id: str
    owner: str


SPOKEN = ("openai_chat", "openai_responses")
"""Values of `wire_format` behind which there is a `GET /models`."""


class OpenAiCompatible:
    name = "openai_compatible"
    version = "1"
    needs: tuple[str, ...] = ("GET /models", "GET /docs", "GET /openapi.json", "GET /metrics", "POST /chat/completions")

    def collect(self, ctx: SourceContext) -> list[SourceResult]:
        targets = [a for a in ctx.inventory.assets if a.props.get("wire_format") in SPOKEN and a.url]
        if not targets:
            return []
        with ThreadPoolExecutor(max_workers=8) as pool:
            return list(pool.map(lambda asset: self._read(ctx, asset), targets))

    def _read(self, ctx: SourceContext, asset: InventoryAsset) -> SourceResult:
        url = str(asset.url)
        try:
            refuse_metadata_address(url)
            reference = asset.props.get("credential")
            secret = resolve_secret(reference) if isinstance(reference, str) else None
        except ConfigError as e:
            return SourceResult(self.name, asset.id, Completeness.ERROR, str(e), ())
        with httpx.Client(timeout=ctx.settings.discovery.timeout_s, follow_redirects=False) as client:
            caller = _Caller(client, url, secret)
            try:
                props, models = caller.listing()
                if asset.active and asset.kind == AssetKind.LLM_ENDPOINT:
                    props.update(
                        caller.active(str(asset.props.get("model") or (models[0].id if models else "default")))
                    )
            except AispmError as e:
                return SourceResult(self.name, asset.id, Completeness.ERROR, str(e), ())
        served = self._models(ctx, asset, models or [], url)
        edges = tuple(EdgeRef("serves", o.kind, *next(iter(o.natural_keys.items()))) for o in served)
        state, reason = (
            (Completeness.FULL, "")
            if models is not None
            else (Completeness.PARTIAL, f"GET /models answered {props.get('list_status')}; models were not read")
        )
        endpoint = Observation(
            source=self.name,
            source_version=self.version,
            kind=asset.kind,
            name=asset.name,
            natural_keys=asset.natural_keys,
            props=props,
            evidence=f"GET {url}/models → {props.get('list_status')}",
            observed_at=ctx.clock(),
            proof_label=ProofLabel.REAL_COMPONENT,
            edges=edges,
        )
        return SourceResult(self.name, asset.id, state, reason, (endpoint, *served))

    def _models(self, ctx: SourceContext, asset: InventoryAsset, models: list[Model], url: str) -> list[Observation]:
        """Listed models that no declaration names."""
        declared = {str(a.props.get("model")) for a in ctx.inventory.assets}
        declared |= {a.natural_keys["model"] for a in ctx.inventory.assets if "model" in a.natural_keys}
        declared |= {a.natural_keys.get("deployment", "").rpartition("#")[2] for a in ctx.inventory.assets}
        if asset.kind != AssetKind.LLM_ENDPOINT:
            return []
        return [
            Observation(
                source=self.name,
                source_version=self.version,
                kind=_model_kind(model, owner),
                name=model,
                natural_keys={"deployment": f"{url}#{model}"},
                props={"model": model, "url": url, "served_by": asset.id, "listed_owner": owner or None},
                evidence=f"GET {url}/models",
                observed_at=ctx.clock(),
                proof_label=ProofLabel.REAL_COMPONENT,
            )
            for model, owner in models[:MAX_MODELS]
            if model not in declared
        ]


def _model_kind(model: str, owner: str) -> AssetKind:
    if model.startswith("ft:"):
        return AssetKind.FINE_TUNED_MODEL
    if "embed" in model.lower():
        return AssetKind.EMBEDDING_MODEL
    if owner.lower() in _LOCAL_OWNERS:
        return AssetKind.SELF_HOSTED_MODEL
    return AssetKind.LLM_ENDPOINT


class _Caller:
    """The requests to one service."""

    def __init__(self, client: httpx.Client, url: str, secret: str | None) -> None:
        self.client = client
        self.url = url
        self.auth = {"Authorization": f"Bearer {secret}"} if secret else {}

    def listing(self) -> tuple[dict[str, Any], list[Model] | None]:
        """Facts and the models; None when there was no readable listing. Raises AispmError when dead."""
        status, _, body = self._send("GET", f"{self.url}/models", self.auth)
        if status is None:
            raise AispmError("no answer within the time limit or no connection; check the address and the service")
        props: dict[str, Any] = {
            "reachable": True,
            "list_status": status,
            "scheme": urlsplit(self.url).scheme,
            "loopback": is_loopback(self.url),
        }
        models = _model_list(body) if 200 <= status < 300 else None
        if models is not None:
            props["models"] = sorted(m.id for m in models)
        return props, models

    def active(self, model: str) -> dict[str, Any]:
        body = {"model": model, "messages": [{"role": "user", "content": "Reply with OK."}], "max_tokens": 4}
        chat = f"{self.url}/chat/completions"
        origin = {"Origin": "https://foreign-origin.example"}
        facts: dict[str, Any] = {}

        def note(name: str, status: int | None) -> None:
            if status is not None and status < 500:
                facts[name] = status

        status, headers, _ = self._send("POST", chat, {**self.auth, **origin}, body)
        note("chat_status", status)
        if status is not None and status < 500:
            facts["cors_allow_origin"] = headers.get("access-control-allow-origin")
            facts["cors_allow_credentials"] = headers.get("access-control-allow-credentials", "").lower() == "true"
            facts["rate_limit_headers"] = any("ratelimit" in h or h == "retry-after" for h in headers)
        note("chat_status_without_credential", self._send("POST", chat, {}, body)[0])
        stranger = {"Authorization": f"Bearer aispm-{secrets.token_urlsafe(24)}"}
        note("chat_status_random_bearer", self._send("POST", chat, stranger, body)[0])
        status, _, text = self._send("POST", chat, self.auth, raw=b'{"model": "x", "messages": [{"role": ')
        if status is not None:
            facts["error_status"] = status
            facts["error_leaks"] = sorted(name for name, pattern in LEAKS.items() if pattern.search(text))
        status, _, _ = self._send("POST", chat, self.auth, {**body, "max_tokens": HUGE_MAX_TOKENS})
        if status is not None and status < 500 and status not in (401, 403, 404, 429):
            facts["huge_max_tokens_accepted"] = 200 <= status < 300
        facts.update(self._open_routes())
        return facts

    def _open_routes(self) -> dict[str, Any]:
        """Routes that answer 200 without a credential; left out when one of them gave no answer."""
        parts = urlsplit(self.url)
        top = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        routes = {f"{parts.path}/models": f"{self.url}/models", **{f"/{r}": f"{top}/{r}" for r in OPEN_ROUTES}}
        answers = {shown: self._send("GET", target, {})[0] for shown, target in routes.items()}
        if any(status is None or status >= 500 for status in answers.values()):
            return {}
        return {"open_routes": sorted(shown for shown, status in answers.items() if status == 200)}

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: Any = None, raw: bytes | None = None
    ) -> tuple[int | None, dict[str, str], str]:
        """Status, lower-case headers and at most MAX_BODY of text; status None when there was no complete reply."""
        content: dict[str, Any] = {} if body is None else {"json": body}
        if raw is not None:
            content, headers = {"content": raw}, {**headers, "Content-Type": "application/json"}
        try:
            with self.client.stream(method, url, headers=headers, **content) as reply:
                data = b""
                for chunk in reply.iter_bytes():
                    data += chunk
                    if len(data) > MAX_BODY:
                        break
                return reply.status_code, dict(reply.headers), data[:MAX_BODY].decode("utf-8", "replace")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None, {}, ""


def _model_list(text: str) -> list[Model] | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    items = data.get("data") if isinstance(data, dict) else None
    if not isinstance(items, list):
        return None
    found = []
    for item in items:
        if isinstance(item, dict) and isinstance(item.get("id"), str) and item["id"]:
            owner = item.get("owned_by")
            found.append(Model(clean(item["id"][:256]), clean(owner[:64]) if isinstance(owner, str) else ""))
    return found
