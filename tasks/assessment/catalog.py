"""The catalogue of checks: `catalog.csv` names all of them, `checks/*.yaml` holds the predicates of those built."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.records import AssetKind, Severity
from tasks.strict_yaml import Lines, load_yaml

HOME = Path(__file__).parent
KIND_OF_PREFIX: dict[str, AssetKind | None] = {
    "GEN": None,
    "LLE": AssetKind.LLM_ENDPOINT,
    "AGT": AssetKind.AGENT,
    "TOL": AssetKind.TOOL,
    "APP": AssetKind.AI_APPLICATION,
    "MCP": AssetKind.MCP_SERVER,
    "RAG": AssetKind.RAG_SYSTEM,
    "VDB": AssetKind.VECTOR_DATABASE,
    "EMB": AssetKind.EMBEDDING_MODEL,
    "FTM": AssetKind.FINE_TUNED_MODEL,
    "SHM": AssetKind.SELF_HOSTED_MODEL,
    "PRV": AssetKind.MODEL_PROVIDER,
    "DSR": AssetKind.DATA_SOURCE,
    "GWY": AssetKind.PROMPT_GATEWAY,
    "AWS": None,
}
"""None: any kind; AWS checks go by `cloud_type`."""
TYPES = frozenset({"JSON", "VARCHAR", "BOOLEAN", "INTEGER", "BIGINT", "VARCHAR[]"})
MODES = ("config", "log", "active")
_FIELDS = ("id", "applies", "cloud_type", "needs", "optional", "violates", "mode", "fix", "fixtures")


@dataclass(frozen=True, slots=True)
class Check:
    id: str
    title: str
    severity: Severity
    condition: str
    """What counts as a failure, in words (from the catalogue)."""
    hints: str
    """Control ids this check touches, as the catalogue notes them."""
    kind: AssetKind | None
    cloud_type: str | None
    applies: str
    needs: Mapping[str, str]
    """Fact -> SQL type. One that was not read makes the outcome `unknown`."""
    optional: Mapping[str, str]
    """Facts the predicate may use; `has_<fact>` says whether one was read."""
    violates: str
    """SQL expression; true = fail, null = unknown."""
    mode: str
    fix: str
    fixtures: Mapping[str, Any]

    @property
    def prefix(self) -> str:
        return self.id[:3]


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """Every check of the catalogue by id, built or not."""
    with (HOME / "catalog.csv").open(encoding="utf-8", newline="") as f:
        return {row["id"]: row for row in csv.DictReader(f)}


@cache
def load_checks() -> dict[str, Check]:
    """The checks that are built, by id. Raises ConfigError with path:line when a file of them is wrong."""
    found: dict[str, Check] = {}
    for path in sorted((HOME / "checks").glob("*.yaml")):
        data, lines = load_yaml(path)
        for i, entry in enumerate(data):
            check = _check(path, lines, i, entry)
            if check.id in found:
                raise ConfigError(f"{check.id} is defined twice", path, lines.get((i,)))
            found[check.id] = check
    return dict(sorted(found.items()))


def counts() -> dict[str, int]:
    """How many checks the catalogue names, how many are built, how many of those are about MCP servers."""
    built = load_checks()
    return {
        "catalogued": len(catalogue()),
        "implemented": len(built),
        "mcp": sum(check.prefix == "MCP" for check in built.values()),
    }


def _check(path: Path, lines: Lines, i: int, entry: dict[str, Any]) -> Check:
    def wrong(message: str) -> ConfigError:
        return ConfigError(message, path, lines.get((i,)))

    if unknown := set(entry) - set(_FIELDS):
        raise wrong(f"unknown field {', '.join(sorted(unknown))}; known: {', '.join(_FIELDS)}")
    row = catalogue().get(str(entry.get("id")))
    if row is None or path.stem != row["id"][:3]:
        raise wrong(f"{entry.get('id')!r} is not a check of {path.stem} in catalog.csv")
    for name in ("needs", "violates", "mode", "fix", "fixtures"):
        if not entry.get(name):
            raise wrong(f"{row['id']} lacks `{name}`")
    needs, optional = dict(entry["needs"]), dict(entry.get("optional") or {})
    if bad := {t for t in (*needs.values(), *optional.values()) if t not in TYPES}:
        raise wrong(f"{row['id']}: unknown type {', '.join(sorted(bad))}; one of: {', '.join(sorted(TYPES))}")
    if entry["mode"] not in MODES:
        raise wrong(f"{row['id']}: mode is one of {', '.join(MODES)}")
    if set(entry["fixtures"]) != {"fail", "pass", "unknown"}:
        raise wrong(f"{row['id']}: fixtures are `fail`, `pass` and `unknown`")
    return Check(
        id=row["id"],
        title=row["title"],
        severity=Severity(row["severity"]),
        condition=row["condition"],
        hints=row["map"],
        kind=KIND_OF_PREFIX[row["id"][:3]],
        cloud_type=entry.get("cloud_type"),
        applies=str(entry.get("applies", "true")),
        needs=needs,
        optional=optional,
        violates=str(entry["violates"]),
        mode=str(entry["mode"]),
        fix=str(entry["fix"]),
        fixtures=entry["fixtures"],
    )
