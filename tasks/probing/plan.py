"""What a campaign will send, in which order and batches: a pure function of targets, families and settings."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tasks.errors import ConfigError
from tasks.probing.catalog import Family
from tasks.probing.expand import Template, templates
from tasks.probing.sessions import training_records
from tasks.records import Asset, AssetKind, canonical_json, digest
from tasks.settings import ProbingSettings
from tasks.targets import registry
from tasks.targets.credentials import principals, url_of
from tasks.targets.http_template import variables_of

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
            {"asset_id": b.asset_id, "number": b.number, "attempts": [_fields_of(a) for a in b.attempts]}
            for b in self.batches
        ]
        return canonical_json({"schema": "aispm.plan/1", "campaign_id": self.campaign_id, "batches": batches})

    def without(self, sent: Collection[str], targets: Collection[str]) -> Plan:
        """What is left: no attempt whose id is in `sent`, no target but `targets`."""
        left = [
            replace(b, attempts=tuple(a for a in b.attempts if a.attempt_id not in sent))
            for b in self.batches
            if b.asset_id in targets
        ]
        return replace(self, batches=tuple(b for b in left if b.attempts))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.document.encode()).hexdigest()


def _fields_of(attempt: Attempt) -> dict[str, Any]:
    """As `dataclasses.asdict`, without its deep copies: plans hold tens of thousands."""
    return {name: getattr(attempt, name) for name in Attempt.__slots__}


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
        raise ConfigError(f"unknown probe family {', '.join(unknown)}; `aispm probe ls` shows all")
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


_PICTURE_FORMATS = ("openai_chat", "anthropic_messages", "gemini", "bedrock_converse")
"""Those in which pictures are sent; that the model takes any is for the inventory to say."""


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
    if asset.props.get("image_input") is True and asset.props.get("wire_format") in _PICTURE_FORMATS:
        channels.add("images")
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
