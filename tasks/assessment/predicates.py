"""Runs the SQL predicates of checks over the facts of assets.

Every check sees one row per asset with typed columns. A fact that is missing, or that has another type than the check
expects, was not read: `unknown`. A predicate that comes out as null decides nothing: `unknown` as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import duckdb

from tasks.assessment.catalog import Check
from tasks.records import Outcome, canonical_json

BASE = {
    "asset_id": "VARCHAR",
    "kind": "VARCHAR",
    "cloud_type": "VARCHAR",
    "declared": "BOOLEAN",
    "active": "BOOLEAN",
    "owner": "VARCHAR",
    "env": "VARCHAR",
    "exposure": "VARCHAR",
    "risk_tier": "VARCHAR",
}
"""Columns that every check has; null when the declaration does not state them."""


class Row(NamedTuple):
    asset_id: str
    outcome: Outcome
    missing: list[str]


class Predicates:
    """An in-memory database holding the facts of one assessment."""

    def __init__(self, facts: Mapping[str, Mapping[str, Any]]) -> None:
        """`facts` per asset id; the base columns are read from them too."""
        self._con = duckdb.connect()
        # Planning dominates at this size; more threads only cost.
        self._con.execute("set threads = 1")
        self._kinds = {f.get("kind") for f in facts.values()}
        self._cloud_types = {f.get("cloud_type") for f in facts.values()}
        columns = ", ".join(f"{name} {kind}" for name, kind in BASE.items())
        self._con.execute(f"create table assets ({columns}, facts JSON)")
        rows = [
            [asset_id, *(_base(f, name) for name in list(BASE)[1:]), canonical_json(_finite(dict(f)))]
            for asset_id, f in sorted(facts.items())
        ]
        if rows:
            marks = ", ".join("?" * (len(BASE) + 1))
            self._con.executemany(f"insert into assets values ({marks})", rows)  # noqa: S608 - question marks only

    def run(self, check: Check) -> list[Row]:
        """The outcome for every asset of the check's kind (or cloud type). Raises duckdb.Error on a broken one."""
        if check.kind not in {None, *self._kinds} or check.cloud_type not in {None, *self._cloud_types}:
            return []
        outcomes = self._con.execute(
            _sql(check), [check.kind, check.kind, check.cloud_type, check.cloud_type]
        ).fetchall()
        return [Row(asset_id, Outcome(outcome), list(missing)) for asset_id, outcome, missing in outcomes]

    def close(self) -> None:
        self._con.close()


def _base(facts: Mapping[str, Any], name: str) -> Any:
    """A base column; a value of another type than the column's is null."""
    value = facts.get(name)
    return value if isinstance(value, bool if BASE[name] == "BOOLEAN" else str) else None


def _sql(check: Check) -> str:
    """The query of one check. Its expressions are ours (`checks/*.yaml`); facts travel only as values."""
    facts = {**check.needs, **check.optional}
    read = ", ".join(f"{_read(name, kind)} as {name}, {_has(name, kind)} as has_{name}" for name, kind in facts.items())
    base = ", ".join(name for name in BASE if name not in facts)
    missing = ", ".join(f"case when not has_{name} then '{name}' end" for name in check.needs)
    return f"""
        with chosen as (
            select * from assets
            where (? is null or kind = ?) and (? is null or cloud_type = ?)
        ),
        typed as (select {base}, {read} from chosen),
        judged as (
            select asset_id, ({check.applies}) as applies, list_filter([{missing}], lambda x: x is not null) as missing,
                ({check.violates}) as violates
            from typed
        )
        select asset_id,
            case when applies is false then 'not_applicable'
                 when applies is null or len(missing) > 0 or violates is null then 'unknown'
                 when violates then 'fail'
                 else 'pass' end,
            missing
        from judged
        order by asset_id
    """  # noqa: S608 - built from the check files of this package


def _path(name: str) -> str:
    return f"""'$."{name}"'"""


def _read(name: str, kind: str) -> str:
    if kind.endswith("[]"):
        return f"try_cast(facts->{_path(name)} as {kind})"
    return f"try_cast(json_extract_string(facts, {_path(name)}) as {kind})"


def _has(name: str, kind: str) -> str:
    """Present, and null or of the wanted type."""
    null = f"json_type(facts, {_path(name)}) = 'NULL'"
    return f"(json_exists(facts, {_path(name)}) and ({null} or ({_read(name, kind)}) is not null))"


def _finite(value: Any) -> Any:
    """Facts without floats: what JSON of the lake may hold."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) else value
