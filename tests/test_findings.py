"""The state machine of findings over runs."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tasks.findings import GONE, finding_rows, from_check_results, from_verdicts, of_gone_assets

TODAY = dt.date(2026, 11, 23)
TITLES = {"AGT-01": ("Lethal trifecta", "Split the agent")}


def result(outcome: str, waiver: dict[str, str] | None = None) -> dict[str, str]:
    evidence = json.dumps({"waiver": waiver} if waiver else {})
    return {
        "check_id": "AGT-01",
        "asset_id": "agent:a",
        "outcome": outcome,
        "severity": "critical",
        "reason": "it does",
        "evidence": evidence,
        "proof_label": "declared",
    }


def state_after(outcome: str, old: str | None, waiver: dict[str, str] | None = None) -> str | None:
    """State that a run gives to a finding that was `old` before."""
    evaluations = from_check_results([result(outcome, waiver)], TITLES, TODAY)
    now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    fid = evaluations[0].finding_id if evaluations else ""
    previous = {fid: {"state": old, "seq": 4, "discovered_at": now}} if old else {}
    rows = finding_rows(evaluations, previous, "r2", now)
    return rows[0]["state"] if rows else None


VALID = {"until": "2027-01-31", "by": "ciso", "reason": "migration"}
EXPIRED = {"until": "2026-11-22", "by": "ciso", "reason": "migration"}


@pytest.mark.parametrize(
    ("outcome", "old", "waiver", "expected"),
    [
        ("fail", None, None, "open"),
        ("fail", "open", None, "open"),
        ("fail", "triaged", None, "triaged"),
        ("fail", "fixed", None, "regressed"),
        ("fail", "false_positive", None, "false_positive"),
        ("fail", None, VALID, "accepted"),
        ("fail", "open", VALID, "accepted"),
        ("fail", "accepted", EXPIRED, "open"),
        ("fail", None, EXPIRED, "open"),
        ("pass", None, None, None),
        ("pass", "open", None, "fixed"),
        ("pass", "accepted", None, "fixed"),
        ("unknown", "open", None, None),
        ("not_applicable", "open", None, "fixed"),
        ("not_applicable", None, None, None),
    ],
)
def test_states(outcome: str, old: str | None, waiver: dict[str, str] | None, expected: str | None) -> None:
    """Unknown changes nothing; a pass fixes, and so does a rule that no longer applies; what fails again regressed."""
    assert state_after(outcome, old, waiver) == expected


def family_row(vulnerable: int, resistant: int, review: int) -> dict[str, object]:
    return {
        "asset_id": "agent:a",
        "family_id": "f",
        "vulnerable": vulnerable,
        "resistant": resistant,
        "review": review,
        "attempts": "[]",
        "proof_label": "real_component",
    }


@pytest.mark.parametrize(
    ("counts", "old", "expected"),
    [
        ((1, 9, 0), None, "open"),
        ((0, 10, 0), None, None),
        ((0, 10, 0), "open", "fixed"),
        ((0, 0, 0), "open", None),
        ((0, 9, 1), None, "in_review"),
        ((0, 0, 2), "open", "open"),
        ((2, 8, 0), "in_review", "confirmed"),
    ],
)
def test_probe_states(counts: tuple[int, int, int], old: str | None, expected: str | None) -> None:
    """A run in which nothing was decided says nothing; a proposal that waits for review is not a finding proven."""
    now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    evaluations = from_verdicts([family_row(*counts)], {"f": ("T", "high", "mend")})
    fid = evaluations[0].finding_id if evaluations else ""
    previous = {fid: {"state": old, "seq": 1, "discovered_at": now}} if old else {}
    rows = finding_rows(evaluations, previous, "r2", now)
    assert (rows[0]["state"] if rows else None) == expected


def test_ids_are_stable_and_history_grows() -> None:
    """The same asset and rule keep their id and first day; seq counts up."""
    first = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    later = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
    evaluations = from_check_results([result("fail")], TITLES, TODAY)
    [one] = finding_rows(evaluations, {}, "r1", first)
    [two] = finding_rows(evaluations, {one["finding_id"]: one}, "r2", later)
    assert two["finding_id"] == one["finding_id"]
    assert (two["seq"], two["discovered_at"], two["evaluated_at"]) == (2, first, later)


@pytest.mark.parametrize(
    ("old", "gone", "expected"),
    [
        ("open", "agent:a", "fixed"),
        ("accepted", "agent:a", "fixed"),
        ("fixed", "agent:a", None),
        ("false_positive", "agent:a", None),
        ("open", "agent:b", None),
    ],
)
def test_a_gone_asset_closes_its_findings(old: str, gone: str, expected: str | None) -> None:
    """Once: what is closed already gets no further row, and other assets keep theirs."""
    now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    [row] = finding_rows(from_check_results([result("fail")], TITLES, TODAY), {}, "r1", now)
    row["state"] = old
    closed = finding_rows(of_gone_assets([row], {gone}), {row["finding_id"]: row}, "r2", now)
    assert [(one["state"], one["summary"]) for one in closed] == ([] if expected is None else [(expected, GONE)])
