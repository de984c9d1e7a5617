"""Every built check proves itself on its own fixtures: an estate that fails, one that passes, one that was not read."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.assessment.catalog import Check, catalogue, counts, load_checks
from tasks.assessment.predicates import Predicates, Row
from tasks.records import Outcome, Severity

BASE: dict[str, Any] = {
    "declared": True,
    "active": True,
    "owner": "team@bank.example",
    "env": "prod",
    "exposure": "internal",
    "risk_tier": "high",
}
CHECKS = list(load_checks().values())


def cases(check: Check) -> dict[str, dict[str, Any]]:
    """Assets of one check: its fixtures, each also without one needed fact or with hostile text in its place."""
    base = {**BASE, "kind": str(check.kind) if check.kind else "agent", "cloud_type": check.cloud_type}
    good = {**base, **check.fixtures["pass"]}
    bad = {**base, **check.fixtures["fail"]}
    found = {"fail": bad, "pass": good}
    for need, kind in check.needs.items():
        found[f"without {need}, else passing"] = {k: v for k, v in good.items() if k != need}
        found[f"without {need}, else failing"] = {k: v for k, v in bad.items() if k != need}
        if kind not in ("VARCHAR", "JSON"):
            found[f"hostile {need}"] = {**good, need: "'; drop table assets; --"}
    return {f"{check.id}/{name}": facts for name, facts in found.items()}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Row]]:
    """Check id -> case -> result, from one run of all checks over all cases."""
    predicates = Predicates({name: facts for check in CHECKS for name, facts in cases(check).items()})
    found = {
        check.id: {
            row.asset_id.partition("/")[2]: row
            for row in predicates.run(check)
            if row.asset_id.startswith(f"{check.id}/")
        }
        for check in CHECKS
    }
    predicates.close()
    return found


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.id)
def test_check_holds_on_its_fixtures(check: Check, rows: dict[str, dict[str, Row]]) -> None:
    mine = rows[check.id]
    assert mine["fail"].outcome == Outcome.FAIL
    assert mine["pass"].outcome == Outcome.PASS
    removed = mine[f"without {check.fixtures['unknown']}, else failing"]
    assert removed.outcome == Outcome.UNKNOWN
    assert check.fixtures["unknown"] in removed.missing


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.id)
def test_what_was_not_read_never_decides(check: Check, rows: dict[str, dict[str, Row]]) -> None:
    """Whichever needed fact is missing or of another type, the outcome is unknown."""
    others = {name: row for name, row in rows[check.id].items() if name not in ("fail", "pass")}
    assert len(others) >= 2 * len(check.needs)
    assert {name: row.outcome for name, row in others.items()} == dict.fromkeys(others, Outcome.UNKNOWN)


def test_the_catalogue_counts() -> None:
    assert counts() == {"catalogued": 278, "implemented": len(CHECKS), "mcp": 26}
    assert len(CHECKS) >= 60
    assert len({c.prefix for c in CHECKS}) >= 10
    assert all(c.severity in set(Severity) and c.fix.endswith(".") for c in CHECKS)
    assert {c.id for c in CHECKS} <= set(catalogue())


def test_an_asset_of_another_kind_gets_no_result() -> None:
    check = load_checks()["LLE-01"]
    predicates = Predicates({"a:1": {**BASE, "kind": "agent"}})
    assert predicates.run(check) == []


def test_a_check_that_does_not_apply_says_so() -> None:
    check = load_checks()["VDB-06"]
    predicates = Predicates({"a:1": {**BASE, "kind": "vector_database", "engine": "lancedb"}})
    assert [row.outcome for row in predicates.run(check)] == [Outcome.NOT_APPLICABLE]


def test_whether_a_check_applies_can_itself_be_unknown() -> None:
    check = load_checks()["VDB-06"]
    predicates = Predicates({"a:1": {**BASE, "kind": "vector_database", "rls": True, "rls_forced": True}})
    assert [row.outcome for row in predicates.run(check)] == [Outcome.UNKNOWN]
