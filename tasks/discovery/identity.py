"""Which observations are the same asset, and the lake rows that follow from it.

Equal natural keys merge within one kind; nothing is merged on likeness. A key never joins assets that hold different
values of a stronger or equal key: such pairs are recorded as candidates for a human. The outcome depends on the set of
observations only, not on their order (property-tested).
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from json import loads
from typing import Any, NamedTuple

from tasks.discovery.natural_keys import KEY_ORDER, normalise_url, normalised, strongest
from tasks.records import Asset, AssetKind, Completeness, Observation, ProofLabel, SourceResult, canonical_json, digest

SOURCE_RANK: dict[str, int] = {
    "declared": 0,
    "client_configs": 1,
    "aws_bedrock": 3,
    "aws_sagemaker": 3,
    "openai_compatible": 4,
    "mcp_servers": 4,
}
"""Who wins when sources disagree: declared < config file < code (2) < cloud API < live probe. Others count as 2."""
DECLARED_ONLY = ("owner", "env", "exposure", "risk_tier", "active")
"""What only the declaration may say: a scanned service must not be able to name its own owner or risk."""
VOLATILE = frozenset({"observed_at", "latency_ms", "request_id", "etag", "last_synced", "session_id", "updated_at"})
"""Facts that change without the configuration changing; left out of `config_hash`."""
_PROOF_RANK = (ProofLabel.DECLARED, ProofLabel.OFFICIAL_SHAPE_FAKE, ProofLabel.REAL_COMPONENT)


class Alias(NamedTuple):
    alias: str
    asset_id: str
    state: str
    reason: str


class Edge(NamedTuple):
    src_id: str
    dst_id: str
    rel: str
    source: str


@dataclass(frozen=True, slots=True)
class Resolved:
    assets: tuple[Asset, ...]
    asset_of: Mapping[int, str]
    """Index of the observation in the input -> asset id."""
    aliases: tuple[Alias, ...]
    edges: tuple[Edge, ...]


def asset_id(kind: AssetKind | str, key_type: str, key: str) -> str:
    """`kind:` and 100 bits of the key's SHA-256 in lower-case base32."""
    raw = hashlib.sha256(f"{kind}|{key_type}|{key}".encode("utf-8", "surrogatepass")).digest()
    return f"{kind}:{base64.b32encode(raw).decode()[:20].lower()}"


def config_hash(props: Mapping[str, Any]) -> str:
    """SHA-256 of the facts less the volatile ones: equal hashes mean equal configuration."""
    return digest(canonical_json({k: v for k, v in props.items() if k not in VOLATILE}))


def resolve(observations: Sequence[Observation], previous_aliases: Mapping[str, str] | None = None) -> Resolved:
    """Group observations into assets. `previous_aliases` (alias -> asset id, merged only) keeps ids stable when a
    source with a stronger key is missing from this run.

    Raises ValueError when an observation has no natural key of a known type.
    """
    before = dict(previous_aliases or {})
    keys = [normalised(o.natural_keys) for o in observations]
    for found in keys:
        strongest(found)
    asset_of: dict[int, str] = {}
    aliases: set[Alias] = set()
    members: dict[str, list[int]] = defaultdict(list)
    for kind in sorted({o.kind for o in observations}):
        indexes = [i for i, o in enumerate(observations) if o.kind == kind]
        groups, rivals = _group(kind, {i: keys[i] for i in indexes})
        for group in groups:
            names = sorted({(t, keys[i][t]) for i in group for t in keys[i]}, key=lambda n: (KEY_ORDER.index(n[0]), n))
            chosen = follow(asset_id(kind, *names[0]), before)
            for i in group:
                asset_of[i] = chosen
            members[chosen].extend(group)
            for key_type, key in names:
                other = asset_id(kind, key_type, key)
                if other != chosen and before.get(other) != chosen:
                    aliases.add(Alias(other, chosen, "merged", f"weaker key {key_type} of the same asset"))
        for left, right, key_type in rivals:
            pair = sorted((asset_of[left], asset_of[right]))
            if pair[0] != pair[1]:
                aliases.add(Alias(pair[1], pair[0], "candidate", f"same {key_type} but different stronger keys"))
    claimed = defaultdict(set)
    for alias in aliases:
        if alias.state == "merged":
            claimed[alias.alias].add(alias.asset_id)
    # A key shared by assets that were kept apart names none of them.
    shared = {name for name, owners in claimed.items() if len(owners) > 1 or name in members}
    kept = tuple(sorted(a for a in aliases if a.state != "merged" or a.alias not in shared))
    assets = tuple(_merge(name, [observations[i] for i in members[name]]) for name in sorted(members))
    return Resolved(assets, asset_of, kept, _edges(observations, keys, asset_of, before))


def follow(name: str, aliases: Mapping[str, str]) -> str:
    """The end of a chain of aliases; a cycle ends at its smallest id."""
    seen = {name}
    while (after := aliases.get(name)) is not None:
        if after in seen:
            return min(seen)
        seen.add(after)
        name = after
    return name


def _group(
    kind: AssetKind, keys: Mapping[int, Mapping[str, str]]
) -> tuple[list[list[int]], list[tuple[int, int, str]]]:
    """Union-find over equal keys, strongest type first; also the pairs that a key suggests but must not join."""
    # Observations with the same keys are one node, so neither order nor repetition can matter.
    nodes: dict[str, list[int]] = defaultdict(list)
    for i, names in keys.items():
        nodes[canonical_json(dict(names))].append(i)
    order = sorted(nodes)
    parent = {n: n for n in order}
    held: dict[str, dict[str, set[str]]] = {n: {t: {v} for t, v in keys[nodes[n][0]].items()} for n in order}

    def root(n: str) -> str:
        while parent[n] != n:
            n = parent[n]
        return n

    rivals: list[tuple[int, int, str]] = []
    for rank, key_type in enumerate(KEY_ORDER):
        by_value: dict[str, list[str]] = defaultdict(list)
        for n in order:
            if key_type in keys[nodes[n][0]]:
                by_value[keys[nodes[n][0]][key_type]].append(n)
        for value in sorted(by_value):
            roots = sorted({root(n) for n in by_value[value]})
            if len(roots) < 2:
                continue
            stronger = KEY_ORDER[:rank]
            if any(len(set().union(*(held[r].get(t, set()) for r in roots))) > 1 for t in stronger):
                rivals += [(nodes[a][0], nodes[b][0], key_type) for a, b in combinations(roots, 2)]
                continue
            for other in roots[1:]:
                parent[other] = roots[0]
                for t, values in held[other].items():
                    held[roots[0]].setdefault(t, set()).update(values)
    groups: dict[str, list[int]] = defaultdict(list)
    for n in order:
        groups[root(n)].extend(nodes[n])
    return [sorted(group) for _, group in sorted(groups.items())], rivals


def _merge(name: str, observations: Iterable[Observation]) -> Asset:
    ranked = sorted(
        observations,
        key=lambda o: (SOURCE_RANK.get(o.source, 2), o.observed_at, o.source, canonical_json(dict(o.props)), o.name),
    )
    declared = [o for o in ranked if o.source == "declared"]
    props: dict[str, Any] = {}
    per_source: dict[str, dict[str, Any]] = defaultdict(dict)
    for o in ranked:
        for key, value in o.props.items():
            if key in DECLARED_ONLY:
                continue
            props[key] = value
            per_source[key][o.source] = value
    disputed = {
        key: values for key, values in per_source.items() if len({canonical_json(v) for v in values.values()}) > 1
    }
    if disputed:
        props["_by_source"] = disputed
    collected = {o.source: str(o.completeness) for o in ranked}
    if any(state != Completeness.FULL for state in collected.values()):
        props["collection"] = collected
    said: Mapping[str, Any] = declared[-1].props if declared else {}
    read = [o for o in ranked if o.completeness in (Completeness.FULL, Completeness.PARTIAL)] or ranked
    return Asset(
        asset_id=name,
        kind=ranked[0].kind,
        name=declared[-1].name if declared else ranked[-1].name,
        props=props,
        declared=bool(declared),
        active=said.get("active") is True,
        proof_label=max((o.proof_label for o in read), key=_PROOF_RANK.index),
        sources=tuple(sorted({o.source for o in ranked})),
        owner=said.get("owner"),
        env=said.get("env"),
        exposure=said.get("exposure"),
        risk_tier=said.get("risk_tier"),
        first_seen=min(o.observed_at for o in ranked),
        last_seen=max(o.observed_at for o in ranked),
    )


def _edges(
    observations: Sequence[Observation],
    keys: Sequence[Mapping[str, str]],
    asset_of: Mapping[int, str],
    before: Mapping[str, str],
) -> tuple[Edge, ...]:
    """Edges between assets seen in this run; one whose other end nobody saw is left out."""
    owners: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for i, o in enumerate(observations):
        for key_type, key in keys[i].items():
            owners[(o.kind, key_type, key)].add(asset_of[i])
    present = set(asset_of.values())
    found: dict[tuple[str, str, str], str] = {}
    for i, o in sorted(enumerate(observations), key=lambda pair: pair[1].source):
        for edge in o.edges:
            key = normalise_url(edge.key) if edge.key_type == "url" else edge.key
            ends = owners.get((edge.kind, edge.key_type, key)) or {
                follow(asset_id(edge.kind, edge.key_type, key), before)
            }
            if len(ends) == 1 and (end := next(iter(ends))) in present:
                found.setdefault((asset_of[i], end, edge.rel), o.source)
    return tuple(sorted(Edge(src, dst, rel, source) for (src, dst, rel), source in found.items()))


def asset_rows(
    results: Sequence[SourceResult],
    previous: Sequence[Mapping[str, Any]],
    run_id: str,
    now: datetime,
    aliases: Mapping[str, str] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Rows for `observations`, `asset_versions`, `asset_aliases`, `edges` and `tool_versions`.

    `previous` holds the latest `asset_versions` row of every asset, `aliases` the merged aliases of earlier runs
    (alias -> asset id). A version row is written only when configuration, declaration or presence changed; `absent`
    only when every source that saw the asset before now ran in full and did not see it.
    """
    observations = [o for result in results for o in result.observations]
    resolved = resolve(observations, aliases)
    latest = {row["asset_id"]: row for row in previous}
    rows: dict[str, list[dict[str, Any]]] = {
        "observations": _observation_rows(observations, resolved, run_id),
        "asset_versions": [],
        "asset_aliases": [a._asdict() | {"run_id": run_id} for a in resolved.aliases],
        "edges": [e._asdict() | {"run_id": run_id, "valid_from": now} for e in resolved.edges],
        "tool_versions": [],
    }
    for asset in resolved.assets:
        row = version_row(asset, run_id, now)
        if not _same(row, latest.get(asset.asset_id)):
            rows["asset_versions"].append(row)
        rows["tool_versions"] += _tool_rows(asset, latest.get(asset.asset_id), observations, resolved, run_id, now)
    rows["asset_versions"] += _absent(results, resolved, latest, run_id, now)
    return rows


def version_row(asset: Asset, run_id: str, now: datetime) -> dict[str, Any]:
    return {
        "asset_id": asset.asset_id,
        "run_id": run_id,
        "valid_from": now,
        "kind": str(asset.kind),
        "name": asset.name,
        "state": "present",
        "config_hash": config_hash(asset.props),
        "props": canonical_json(dict(asset.props)),
        "sources": canonical_json(list(asset.sources)),
        "declared": asset.declared,
        "active": asset.active,
        "owner": asset.owner,
        "env": asset.env,
        "exposure": asset.exposure,
        "risk_tier": asset.risk_tier,
        "proof_label": str(asset.proof_label),
    }


def assets_from_rows(
    versions: Iterable[Mapping[str, Any]], seen: Mapping[str, tuple[datetime | None, datetime | None]] | None = None
) -> list[Asset]:
    """Assets as they stand, from the latest `asset_versions` rows; absent ones are left out.

    `seen` gives first and last sight per asset id; without it both are the version's `valid_from`.
    """
    found = []
    for row in versions:
        if row["state"] != "present":
            continue
        first, last = (seen or {}).get(row["asset_id"], (row.get("valid_from"), row.get("valid_from")))
        found.append(
            Asset(
                asset_id=row["asset_id"],
                kind=AssetKind(row["kind"]),
                name=row["name"],
                props=loads(row["props"]),
                declared=row["declared"],
                active=row["active"],
                proof_label=ProofLabel(row["proof_label"]),
                sources=tuple(loads(row["sources"])),
                owner=row["owner"],
                env=row["env"],
                exposure=row["exposure"],
                risk_tier=row["risk_tier"],
                first_seen=first,
                last_seen=last,
            )
        )
    return sorted(found, key=lambda a: a.asset_id)


_COMPARED = (
    "name", "state", "config_hash", "sources", "declared", "active", "owner", "env", "exposure", "risk_tier",
    "proof_label",
)  # fmt: skip


def _same(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    return before is not None and all(row[name] == before.get(name) for name in _COMPARED)


def _absent(
    results: Sequence[SourceResult],
    resolved: Resolved,
    latest: Mapping[str, Mapping[str, Any]],
    run_id: str,
    now: datetime,
) -> list[dict[str, Any]]:
    states: dict[str, set[Completeness]] = defaultdict(set)
    for result in results:
        states[result.source].add(result.completeness)
    full = {source for source, seen in states.items() if seen == {Completeness.FULL}}
    present = {asset.asset_id for asset in resolved.assets}
    merged = {a.alias for a in resolved.aliases if a.state == "merged"}
    gone = []
    for name, row in sorted(latest.items()):
        if name in present or row["state"] != "present":
            continue
        if name in merged or set(loads(row["sources"])) <= full:
            gone.append({**{k: v for k, v in row.items() if k in _VERSION_COLUMNS}, "run_id": run_id,
                         "valid_from": now, "state": "absent"})  # fmt: skip
    return gone


_VERSION_COLUMNS = (*_COMPARED, "asset_id", "kind", "props")


def _observation_rows(observations: Sequence[Observation], resolved: Resolved, run_id: str) -> list[dict[str, Any]]:
    rows = {}
    for i, o in enumerate(observations):
        keys, props = canonical_json(dict(o.natural_keys)), canonical_json(dict(o.props))
        name = digest(run_id, o.source, str(o.kind), keys, props, o.evidence)
        rows[name] = {
            "observation_id": name,
            "run_id": run_id,
            "asset_id": resolved.asset_of[i],
            "source": o.source,
            "source_version": o.source_version,
            "kind": str(o.kind),
            "name": o.name,
            "natural_keys": keys,
            "props": props,
            "evidence": o.evidence,
            "confidence": o.confidence,
            "completeness": str(o.completeness),
            "observed_at": o.observed_at,
            "proof_label": str(o.proof_label),
            "dt": o.observed_at.date(),
        }
    return list(rows.values())


def _tool_rows(
    asset: Asset,
    before: Mapping[str, Any] | None,
    observations: Sequence[Observation],
    resolved: Resolved,
    run_id: str,
    now: datetime,
) -> list[dict[str, Any]]:
    """Definitions of a server's tools that its last version did not have."""
    if asset.kind != AssetKind.MCP_SERVER or not isinstance(asset.props.get("tools"), list):
        return []
    old = loads(before["props"]).get("tools") if before else None
    known = {(t["name"], t["sha256"]) for t in old or []}
    definitions = {
        o.props["sha256"]: o.props["definition"]
        for o in observations
        if o.kind == AssetKind.TOOL and "sha256" in o.props and "definition" in o.props
    }
    rows = {}
    for tool in asset.props["tools"]:
        key = (tool["name"], tool["sha256"])
        if key not in known and tool["sha256"] in definitions:
            rows[key] = {
                "asset_id": asset.asset_id,
                "tool_name": tool["name"],
                "hash": tool["sha256"],
                "run_id": run_id,
                "definition": canonical_json(definitions[tool["sha256"]]),
                "valid_from": now,
            }
    return [rows[key] for key in sorted(rows)]
