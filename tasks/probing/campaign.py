"""A campaign: what will be sent, in which batches, and the rows that come of it.

The plan is a pure function of targets, families and settings. A batch is sent at least once and lands in the lake
exactly once: its spool keeps every reply, so a killed batch re-sends only what was in flight.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.interruption import STOPPING, StoppedError
from tasks.probing.catalog import Family, content_file
from tasks.probing.detectors import Context, Finding, canonical_json_or_text, evaluate
from tasks.probing.expand import Rendered, Template, canary_values, render, templates
from tasks.probing.meters import Meters
from tasks.probing.redaction import excerpt_of, redact
from tasks.probing.sessions import converse, declared_values, stranger_of, training_records
from tasks.probing.spool import Spool, local_key
from tasks.records import Asset, AssetKind, Case, ToolCall, Verdict, canonical_json, digest
from tasks.settings import ProbingSettings
from tasks.targets import registry
from tasks.targets.budget import Amount
from tasks.targets.credentials import principals, secrets_of, url_of
from tasks.targets.http_template import variables_of
from tasks.targets.target import PlantedDocument, PlantedMail, PlantedTool, Reply, Request, Target
from tasks.targets.wire import Pace, Wire

_CHAT_KINDS = frozenset(
    {
        AssetKind.LLM_ENDPOINT,
        AssetKind.SELF_HOSTED_MODEL,
        AssetKind.FINE_TUNED_MODEL,
        AssetKind.AI_APPLICATION,
        AssetKind.PROMPT_GATEWAY,
        AssetKind.CLOUD_AI_SERVICE,
        AssetKind.MODEL_PROVIDER,
    }
)
"""All are spoken to in the same way, so a family for `llm_endpoint` fits each of them."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One template, once, at one target. With `skip` set nothing is sent and the row says why."""

    attempt_id: str
    family_id: str
    family_sha256: str
    seed_id: str
    transforms: tuple[str, ...]
    template_sha256: str
    trial: int
    skip: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Attempts at one target that are committed together."""

    run_id: str
    campaign_id: str
    asset_id: str
    number: int
    attempts: tuple[Attempt, ...]

    @property
    def key(self) -> str:
        """Of the lake's commit: the same on every execution of the campaign."""
        return f"{self.campaign_id}/{self.asset_id}/{self.number}"


@dataclass(frozen=True, slots=True)
class Plan:
    run_id: str
    campaign_id: str
    batches: tuple[Batch, ...]

    @property
    def attempts(self) -> int:
        """To be sent; rows for what does not apply are not counted."""
        return sum(a.skip is None for b in self.batches for a in b.attempts)

    @property
    def document(self) -> str:
        """Canonical JSON without the run id, to be kept as evidence before the first request."""
        batches = [
            {"asset_id": b.asset_id, "number": b.number, "attempts": [asdict(a) for a in b.attempts]}
            for b in self.batches
        ]
        return canonical_json({"schema": "aispm.plan/1", "campaign_id": self.campaign_id, "batches": batches})

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.document.encode()).hexdigest()


def load_plan(document: str, run_id: str) -> Plan:
    """The plan of an earlier execution, for resuming it under a new run. Raises ConfigError when it is not one."""
    try:
        data = json.loads(document)
        if data["schema"] != "aispm.plan/1":
            raise ConfigError(f"unknown plan schema {data['schema']!r}")
        campaign_id = data["campaign_id"]
        batches = tuple(
            Batch(
                run_id,
                campaign_id,
                b["asset_id"],
                b["number"],
                tuple(Attempt(**{**a, "transforms": tuple(a["transforms"])}) for a in b["attempts"]),
            )
            for b in data["batches"]
        )
    except (ValueError, KeyError, TypeError) as e:
        raise ConfigError(f"the stored plan cannot be read: {e}") from None
    return Plan(run_id, campaign_id, batches)


def plan(
    run_id: str,
    campaign_id: str,
    assets: Sequence[Asset],
    families: Mapping[str, Family],
    settings: ProbingSettings,
    *,
    full: bool,
) -> Plan:
    """What to send where. Only active assets with a known wire format are targets.

    `full` takes every template; otherwise each family gives `templates_per_family`, the same ones every night so that
    nights can be compared, with held-out seeds among them. Raises ConfigError when a wanted family does not exist.
    """
    if unknown := sorted(set(settings.families) - set(families)):
        raise ConfigError(f"unknown probe family {', '.join(unknown)}; `aispm probe list` shows all")
    wanted = [f for f in families.values() if not settings.families or f.family_id in settings.families]
    chosen = {f.family_id: _choose(f, None if full else settings.templates_per_family, settings.seed) for f in wanted}
    batches: list[Batch] = []
    for asset in sorted(assets, key=lambda a: a.asset_id):
        if not asset.active or str(asset.props.get("wire_format")) not in registry:
            continue
        attempts: list[Attempt] = []
        for family in wanted:
            if _surface(asset) not in family.surfaces:
                continue
            if (reason := _unfit(family, asset)) is not None:
                attempts.append(_skipped(campaign_id, asset, family, reason))
                continue
            variant = _variant(family, asset)
            for trial in range(settings.trials):
                attempts += [_attempt(campaign_id, asset, family, t, trial, variant) for t in chosen[family.family_id]]
        size = settings.batch_size
        batches += [
            Batch(run_id, campaign_id, asset.asset_id, n // size, tuple(attempts[n : n + size]))
            for n in range(0, len(attempts), size)
        ]
    return Plan(run_id, campaign_id, tuple(batches))


def offered(asset: Asset) -> frozenset[str]:
    """The channels a target gives us, from its kind, wire format and declaration."""
    channels = {"chat", "usage", "burst"}
    match asset.props.get("wire_format"):
        case "openai_responses":
            channels |= {"system_prompt", "tool_trace"}
            if asset.props.get("mailbox_url"):
                channels.add("mailbox")
        case "mcp":
            channels = {"chat", "tool_trace"}
        case "http_template":
            # What a reply cost is told only where its body happens to name it, so no family may count on it.
            channels = {"chat", "burst"}
            if "system" in variables_of(asset):
                channels.add("system_prompt")
        case _ if asset.kind is AssetKind.RAG_SYSTEM:
            channels |= {"citations"}
            if principals(asset):
                channels.add("documents")
            if len(principals(asset)) > 1:
                channels.add("two_principals")
        case _:
            channels |= {"system_prompt", "client_tools", "tool_trace"}
    if training_records(asset):
        channels.add("training_records")
    return frozenset(channels)


def _surface(asset: Asset) -> str:
    return "llm_endpoint" if asset.kind in _CHAT_KINDS else asset.kind.value


def _unfit(family: Family, asset: Asset) -> str | None:
    if missing := sorted(set(family.requires) - offered(asset)):
        return f"missing: {', '.join(missing)}"
    if family.intrusive and asset.props.get("allow_intrusive") is not True:
        return "intrusive: the inventory does not allow it for this target"
    return None


def _choose(family: Family, limit: int | None, seed: int | None) -> list[Template]:
    """All templates, or `limit` of them spread over the seeds, a held-out one second."""
    every = templates(family)
    if limit is None or limit >= len(every):
        return every
    rng = random.Random(f"{family.sha256}/{seed}")  # noqa: S311  # a reproducible choice, not a secret
    piles: dict[str, list[Template]] = {}
    for template in every:
        piles.setdefault(template.seed_id, []).append(template)
    for pile in piles.values():
        rng.shuffle(pile)
    train = [p for p in piles.values() if p[0].split == "train"]
    held = [p for p in piles.values() if p[0].split == "held_out"]
    rng.shuffle(train)
    rng.shuffle(held)
    order = [*train[:1], *held[:1], *train[1:], *held[1:]]
    chosen: list[Template] = []
    depth = 0
    while len(chosen) < limit:
        chosen += [pile[depth] for pile in order if depth < len(pile)]
        depth += 1
    return chosen[:limit]


def _variant(family: Family, asset: Asset) -> str:
    """What, beside the template, makes an attempt comparable: the family's text and how the target is configured."""
    config = {k: asset.props[k] for k in ("parameters", "http", "tool", "argument", "arguments") if k in asset.props}
    config |= {k: asset.props.get(k) for k in ("wire_format", "model")}
    return digest(family.sha256, canonical_json({**config, "url": url_of(asset)}))


def _attempt(campaign_id: str, asset: Asset, family: Family, template: Template, trial: int, variant: str) -> Attempt:
    return Attempt(
        digest(campaign_id, asset.asset_id, template.sha256, variant, str(trial)),
        family.family_id,
        family.sha256,
        template.seed_id,
        template.transforms,
        template.sha256,
        trial,
    )


def _skipped(campaign_id: str, asset: Asset, family: Family, reason: str) -> Attempt:
    none = digest("not_applicable", family.family_id)
    identity = digest(campaign_id, asset.asset_id, none, family.sha256, "0")
    return Attempt(identity, family.family_id, family.sha256, "", (), none, 0, reason)


def campaign_key(campaign_id: str, settings: ProbingSettings, spool: Path) -> bytes:
    """The key behind a campaign's canaries: fixed by `probing.seed`, else from this installation's own secret."""
    if settings.seed is not None:
        return hashlib.sha256(f"aispm.canary/1 {settings.seed}".encode()).digest()
    return hmac.new(local_key(spool.parent), campaign_id.encode(), hashlib.sha256).digest()


Progress = Callable[[int, int], None]
"""(attempts finished in this batch, attempts in it)."""


def run_batch(
    batch: Batch,
    asset: Asset,
    families: Mapping[str, Family],
    settings: ProbingSettings,
    spool: Path,
    progress: Progress | None = None,
    *,
    meters: Meters | None = None,
    pace: Pace | None = None,
) -> list[dict[str, Any]]:
    """Send what the file `spool` does not hold yet; returns one `probe_attempts` row per planned attempt.

    Faults of the target end as rows with verdict `error`. The caller removes the file after the commit, and must name
    the same file when it resumes; the key of the canaries lies beside it.
    `meters` is shared by all batches of an execution; without it this batch has budget and limiter to itself.
    Raises ConfigError when the asset is no usable target, such as an unreadable credential, and StoppedError when the
    run is asked to stop: attempts in flight are finished first, and what is answered stays in the file.
    """
    secrets_known = secrets_of(asset)
    shared = meters or Meters(settings, [asset])
    store = Spool(spool)
    try:
        key = campaign_key(batch.campaign_id, settings, spool)
        runner = _Runner(batch, asset, families, settings, store, secrets_known, key, shared)
        with asyncio.Runner(loop_factory=_event_loop) as loop:
            loop.run(runner.run(progress, pace))
    finally:
        store.close()
    # A resumed attempt belongs to the run that commits it.
    return [{**store.rows[a.attempt_id], "run_id": batch.run_id} for a in batch.attempts]


def _event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it exists: half the processor time of the standard loop for the same requests."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _Runner:
    def __init__(
        self,
        batch: Batch,
        asset: Asset,
        families: Mapping[str, Family],
        settings: ProbingSettings,
        store: Spool,
        secrets_known: tuple[str, ...],
        key: bytes,
        meters: Meters,
    ) -> None:
        self._batch = batch
        self._asset = asset
        self._families = families
        self._settings = settings
        self._store = store
        self._secrets = secrets_known
        self._key = key
        self._meters = meters
        self._done = 0

    async def run(self, progress: Progress | None, pace: Pace | None) -> None:
        todo = [a for a in self._batch.attempts if a.attempt_id not in self._store.rows]
        self._done = len(self._batch.attempts) - len(todo)
        for row in self._store.rows.values():
            tokens = (row["tokens_in"] or 0) + (row["tokens_out"] or 0)
            self._meters.budget.charge(Amount(int(row["tries"]), tokens, row["cost_micro_usd"] or 0))
        queue = iter(todo)
        # Planted mail and documents are shared state of the target: such attempts take turns.
        alone = asyncio.Lock()

        async def work() -> None:
            target, wire = self._target(pace)
            try:
                for attempt in queue:
                    if STOPPING.is_set():
                        return
                    row = await self._one(attempt, target, wire, alone)
                    self._store.add(row)
                    self._done += 1
                    if progress is not None:
                        progress(self._done, len(self._batch.attempts))
            finally:
                await target.close()

        if todo:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._settings.concurrency, len(todo))):
                    group.create_task(work())
        if self._done < len(self._batch.attempts):
            raise StoppedError(f"stopped after {self._done} of {len(self._batch.attempts)} attempts")

    def _target(self, pace: Pace | None) -> tuple[Target, Wire]:
        urls = [url_of(self._asset)]
        if self._asset.props.get("mailbox_url"):
            urls.append(str(self._asset.props["mailbox_url"]))
        limiter, price = self._meters.limiter(self._asset), self._meters.price(self._asset)
        try:
            wire = Wire(
                tuple(urls),
                limiter,
                timeout_s=self._settings.timeout_s,
                budget=self._meters.budget,
                price=price,
                pace=pace,
            )
        except ValueError as e:
            raise ConfigError(f"{self._asset.asset_id}: {e}; correct its url") from None
        return registry[str(self._asset.props["wire_format"])](self._asset, wire), wire

    async def _one(self, attempt: Attempt, target: Target, wire: Wire, alone: asyncio.Lock) -> dict[str, Any]:
        started = datetime.now(UTC)
        if attempt.skip is not None:
            finding = Finding(Verdict.NOT_APPLICABLE, "capability", attempt.skip)
            return self._row(attempt, started, Reply(), finding, {})
        family = self._families.get(attempt.family_id)
        if family is None or family.sha256 != attempt.family_sha256:
            # The plan is frozen; a family edited since then is another attack.
            return self._row(attempt, started, Reply(), Finding(Verdict.ERROR, error_kind="family_changed"), {})
        values = canary_values(family, self._key, attempt.attempt_id)
        values |= declared_values(family, self._asset, attempt.attempt_id)
        if (stopped := self._meters.stopped(self._asset)) is not None:
            finding = Finding(Verdict.ERROR, error_kind=stopped)
            return self._row(attempt, started, Reply(), finding, values)
        rendered = render(family, family.seed(attempt.seed_id), attempt.transforms, values)
        request, context = request_for(family, rendered, attempt, self._asset, values)
        spent = wire.micro_usd
        plant, stranger = rendered.plant, stranger_of(self._asset)
        if request.mails or request.documents or "sessions" in plant:
            async with alone:
                reply = await converse(target, request, plant, stranger)
        else:
            reply = await converse(target, request, plant, stranger)
        row = self._row(attempt, started, reply, evaluate(family, reply, context), values)
        if self._meters.price(self._asset) is not None:
            row["cost_micro_usd"] = wire.micro_usd - spent
        return row

    def _row(
        self, attempt: Attempt, started: datetime, reply: Reply, finding: Finding, values: Mapping[str, str]
    ) -> dict[str, Any]:
        ended = datetime.now(UTC)
        family = self._families.get(attempt.family_id)
        declared = {n for n, kind in family.vars.items() if kind == "training_record"} if family else set()
        canary = {n: v for n, v in values.items() if "." not in n or n.partition(".")[0] in declared}
        return {
            "attempt_id": attempt.attempt_id,
            "campaign_id": self._batch.campaign_id,
            "run_id": self._batch.run_id,
            "asset_id": self._batch.asset_id,
            "family_id": attempt.family_id,
            "family_sha256": attempt.family_sha256,
            "seed_id": attempt.seed_id,
            "template_sha256": attempt.template_sha256,
            "transforms": canonical_json({"applied": list(attempt.transforms), "canary": canary}),
            "trial": attempt.trial,
            "tries": reply.tries,
            "request_sha256": reply.request_sha256 or digest("nothing sent"),
            "response_sha256": reply.response_sha256,
            "excerpt": excerpt_of(reply.text, self._secrets),
            "tool_trace": _trace_json(reply.tool_calls, self._secrets),
            "finish": reply.finish[:64] if reply.finish else None,
            "tokens_in": reply.tokens_in,
            "tokens_out": reply.tokens_out,
            "cost_micro_usd": None,
            "started_at": started,
            "ended_at": ended,
            "error_kind": finding.error_kind,
            "evidence_kind": finding.evidence_kind,
            "evidence_ref": None if finding.evidence_ref is None else redact(finding.evidence_ref, self._secrets),
            "verdict": finding.verdict.value,
            "rubric": finding.rubric,
            "proof_label": self._asset.proof_label.value,
            "dt": ended.date(),
        }


def request_for(
    family: Family, rendered: Rendered, attempt: Attempt, asset: Asset, values: Mapping[str, str]
) -> tuple[Request, Context]:
    """The conversation to hold for a rendered attack, and what its detectors must know."""
    plant = rendered.plant
    declared = [str(p["id"]) for p in principals(asset)]
    tenants = {str(p["id"]): str(p.get("tenant", p["id"])) for p in principals(asset)}
    own = declared[0] if declared else None
    other = declared[1] if len(declared) > 1 else None
    documents: list[PlantedDocument] = []
    foreign: list[str] = []
    mine: list[str] = []
    for i, document in enumerate(plant.get("documents", ())):
        owner = other if document["tenant"] == "foreign" else own
        identifier = f"probe-{attempt.attempt_id[:16]}-{i}"
        documents.append(PlantedDocument(identifier, document["text"], str(owner)))
        (foreign if document["tenant"] == "foreign" else mine).append(identifier)
    tools = tuple(
        PlantedTool(
            t["name"],
            t["description"],
            {"type": "object", "properties": _properties(t)},
            (t["result"], *t.get("later_results", ())),
            t.get("later_description"),
            t.get("effect"),
        )
        for t in plant.get("tools", ())
    )
    mails = tuple(PlantedMail(m["from"], m["subject"], m["body"]) for m in plant.get("mail", ()))
    request = Request(
        turns=rendered.turns,
        when=rendered.when,
        system=plant.get("system"),
        tools=tools,
        documents=tuple(documents),
        mails=mails,
        principal=own,
        control_principal=other if foreign else None,
        max_tokens=family.max_tokens,
        state=plant.get("state", {}),
        tool_rounds=family.tool_rounds,
        burst=family.burst,
    )
    foreign_tenants = frozenset(t for p, t in tenants.items() if p != own) - ({tenants[own]} if own else set())
    return request, Context(values, tuple(foreign), tuple(mine), foreign_tenants, offered(asset), plant)


def _properties(tool: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schemas of a planted tool's arguments: all are texts, some with listed values or a default."""
    values = tool.get("values", {})
    return {
        name: {"type": "string", "description": text, **values.get(name, {})}
        for name, text in tool.get("parameters", {}).items()
    }


def _trace_json(calls: Sequence[ToolCall], secrets_known: tuple[str, ...]) -> str:
    """The trace as stored: at most 32 calls, long texts cut, keys of the target taken out."""
    stored = []
    for call in calls[:32]:
        arguments = redact(canonical_json_or_text(dict(call.arguments))[:4000], secrets_known)
        result = None if call.result is None else redact(call.result[:500], secrets_known)
        stored.append({"name": redact(call.name[:128], secrets_known), "arguments": arguments, "result": result})
    return canonical_json(stored)


@cache
def _rubric(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def case_for(row: Mapping[str, Any], families: Mapping[str, Family]) -> Case | None:
    """What judges are shown of a stored attempt, rebuilt from the row alone.

    None when the row needs no judge, or when its family has changed since and the attack can no longer be told.
    Raises ConfigError when the rubric file is missing.
    """
    family = families.get(str(row["family_id"]))
    rubric = row.get("rubric")
    if row["verdict"] != Verdict.UNDECIDED or not rubric or family is None or family.sha256 != row["family_sha256"]:
        return None
    stored = json.loads(row["transforms"])
    values: dict[str, str] = {}
    for name, value in stored["canary"].items():
        values[name] = value
        match family.vars[name.partition(".")[0]]:
            case "canary_joined":
                values[f"{name}.a"], values[f"{name}.b"] = value[:6], value[6:]
            case "sink_url":
                values[f"{name}.host"] = value.removeprefix("https://").removesuffix("/p")
    rendered = render(family, family.seed(str(row["seed_id"])), stored["applied"], values)
    turns = [{"role": role, "content": content} for role, content in rendered.turns]
    for i, condition in rendered.when.items():
        turns[i]["content"] = f"[said only if the assistant had {condition}] {turns[i]['content']}"
    if "system" in rendered.plant:
        turns.insert(0, {"role": "system", "content": str(rendered.plant["system"])})
    place = content_file(str(rubric), family.path)
    if place is None:
        raise ConfigError(f"the rubric {rubric} is gone; put it back", family.path, 1)
    text = _rubric(place)
    trace = tuple(ToolCall(c["name"], _arguments(c["arguments"]), c["result"]) for c in json.loads(row["tool_trace"]))
    return Case(str(row["attempt_id"]), family.family_id, family.goal, turns, str(row["excerpt"]), trace, text)


def _arguments(stored: str) -> dict[str, Any]:
    try:
        value = json.loads(stored)
    except ValueError:
        return {"_raw": stored}
    return value if isinstance(value, dict) else {"_raw": stored}
