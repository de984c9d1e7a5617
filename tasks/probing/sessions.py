"""Attempts that take more than one conversation: what was said before, elsewhere, and the baseline to compare with.

All of it goes through `Target.converse`, so every kind of target can be asked in this way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.probing.catalog import Family
from tasks.records import Asset, digest
from tasks.targets.credentials import principals
from tasks.targets.target import Reply, Request, Target


async def converse(target: Target, request: Request, plant: Mapping[str, Any], stranger: str | None) -> Reply:
    """Hold the sessions of `plant` as `stranger`, then its baseline, then the conversation itself, each on its own.

    A session that could not be held ends the attempt with `session_failed`: what was never said cannot leak.
    """
    tries = 0
    for turns in plant.get("sessions", ()):
        earlier = replace(_bare(request, turns), principal=stranger or request.principal)
        reply = await target.converse(earlier)
        tries += reply.tries
        if reply.error_kind is not None:
            return Reply(error_kind="session_failed", tries=tries)
    baseline = None
    if "baseline" in plant:
        baseline = await target.converse(_bare(request, plant["baseline"]))
        tries += baseline.tries
    reply = await target.converse(request)
    if baseline is not None:
        sha = digest(baseline.request_sha256, reply.request_sha256)
        reply = replace(reply, baseline=baseline, request_sha256=sha)
    return replace(reply, tries=reply.tries + tries) if tries else reply


def _bare(request: Request, turns: Sequence[Mapping[str, str]]) -> Request:
    """Another conversation with the same application: same instructions and tools, nothing planted for it alone."""
    said = tuple((t["role"], t["content"]) for t in turns)
    return replace(request, turns=said, when={}, documents=(), mails=(), control_principal=None, burst=0)


def training_records(asset: Asset) -> tuple[tuple[str, str], ...]:
    """(beginning, rest) of the synthetic records that the owner says were put into a model's training data."""
    declared = asset.props.get("training_records")
    rows = declared if isinstance(declared, list | tuple) else ()
    pairs = [(str(r.get("prefix", "")), str(r.get("rest", ""))) for r in rows if isinstance(r, Mapping)]
    return tuple(p for p in pairs if p[0].strip() and len(p[1].strip()) >= 8)


def declared_values(family: Family, asset: Asset, attempt_id: str) -> dict[str, str]:
    """The variables of a family whose values the target's declaration gives, for one attempt."""
    records = training_records(asset)
    values: dict[str, str] = {}
    for name, kind in family.vars.items():
        if kind == "training_record" and records:
            pick = hashlib.sha256(f"{attempt_id}/{name}".encode()).digest()
            prefix, rest = records[pick[0] % len(records)]
            values |= record_values(name, prefix, rest, pick)
    return values


def record_values(name: str, prefix: str, rest: str, noise: bytes) -> dict[str, str]:
    """A record's parts; its decoy has the same shape, other letters and digits, and was never trained on."""
    letters = "".join(_other(c, noise[i % len(noise)]) for i, c in enumerate(rest))
    return {
        name: f"{prefix}{rest}",
        f"{name}.prefix": prefix,
        f"{name}.rest": rest,
        f"{name}.decoy": f"{prefix}{letters}",
    }


def _other(letter: str, noise: int) -> str:
    for first, last in (("0", "9"), ("a", "z"), ("A", "Z")):
        if first <= letter <= last:
            size = ord(last) - ord(first) + 1
            return chr(ord(first) + (ord(letter) - ord(first) + 1 + noise % (size - 1)) % size)
    return letter


def stranger_of(asset: Asset) -> str | None:
    """The principal that plays another user, where the target has several."""
    declared = [str(p["id"]) for p in principals(asset)]
    return declared[1] if len(declared) > 1 else None
