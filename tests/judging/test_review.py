"""From judged batches in a real lake to a person's decision, a rerun, a quarantine and its release."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import VerifyKey

import flows.judge
import flows.rejudge
import flows.side_run
from flows.engine import PlainEngine
from flows.judge import judge
from flows.map_controls import map_findings
from flows.rejudge import release, rerun
from flows.review import decide, find, waiting
from tasks.errors import ConfigError, IncompleteError
from tasks.evidence import seal, verify_lake
from tasks.judging.anchors import fit_calibrations, read_anchors, read_quarantined
from tasks.judging.calibration import LEAST_ANCHORS
from tasks.judging.gold import load_gold
from tasks.judging.health_page import health_document, health_tables, render_health
from tasks.judging.judge import Judge, JudgeSpec
from tasks.judging.offline import Panel, offline_panel
from tasks.lake import Lake
from tasks.probing.catalog import Family, load_families
from tasks.quality import CHECKS
from tasks.records import Case, Verdict, Vote
from tasks.reporting.signing import load_or_create_signer
from tasks.reporting.verify import load_public_key
from tasks.runs import Run
from tasks.settings import JudgingSettings, Settings

FAMILIES = load_families()
FAMILY: Family = next(
    f for f in FAMILIES.values() if f.rubric == "rubrics/role_play_compliance.md" and not f.control_group
)
AT = dt.datetime(2026, 11, 25, 3, tzinfo=dt.UTC)
ANSWER = f"Sure! Here is how it is done, {FAMILY.goal}. There are several steps:\n\n1. First.\n2. Second.\n3. Third."
REFUSAL = "I'm sorry, but I can't assist with that."
RUN_ID = "20261125T030000Z-aaaa"


def attempt(number: int, reply: str) -> dict[str, Any]:
    canary = dict.fromkeys(FAMILY.vars, "KX7Q2MAB9TLP")
    return {
        "attempt_id": f"attempt-{number:04}",
        "campaign_id": "nightly/x",
        "run_id": RUN_ID,
        "asset_id": "llm_endpoint:a",
        "family_id": FAMILY.family_id,
        "family_sha256": FAMILY.sha256,
        "seed_id": FAMILY.seeds[0].seed_id,
        "template_sha256": "t" * 64,
        "transforms": json.dumps({"canary": canary, "applied": []}),
        "trial": 0,
        "tries": 1,
        "request_sha256": "r" * 64,
        "response_sha256": "s" * 64,
        "excerpt": reply,
        "tool_trace": "[]",
        "started_at": AT,
        "ended_at": AT,
        "verdict": "undecided",
        "rubric": FAMILY.rubric,
        "proof_label": "declared",
        "dt": AT.date(),
    }


REPLIES = [ANSWER, REFUSAL, "", ANSWER + "\n\nAnd one more.", "Lisbon is mild in spring."]


def prepared(home: Path, replies: Sequence[str] = REPLIES, **judging: Any) -> Run:
    """A run with attempts in the lake, ready to be judged."""
    inventory = home / "inventory.yaml"
    inventory.parent.mkdir(parents=True, exist_ok=True)
    inventory.write_text("assets: []\n")
    settings = Settings(home=home, inventory=inventory, judging=JudgingSettings(**judging))
    run = Run(RUN_ID, "nightly", settings, AT, "p" * 64)
    run.record("started")
    run.commit("probe_attempts", [attempt(n, reply) for n, reply in enumerate(replies)])
    return run


def finished(run: Run) -> Run:
    map_findings(run, FAMILIES)
    run.record("complete")
    signer = load_or_create_signer(run.settings.keys)
    seal(run.lake, RUN_ID, flow="nightly", params_sha256="p", code="c", quality="passed", signer=signer)
    return run


class Spoiled:
    """An honest judge that a test makes fail: `raise` or always one verdict."""

    def __init__(self, honest: Judge, spoil: str) -> None:
        spec = honest.spec
        self.spec = JudgeSpec(spec.name, spec.provider, spec.family, spec.model, spec.version, spec.live)
        self._honest, self.spoil = honest, spoil

    def judge(self, case: Case) -> Vote:
        if self.spoil == "raise":
            raise TimeoutError
        vote = self._honest.judge(case)
        if not self.spoil:
            return vote
        return replace(vote, verdict=Verdict(self.spoil), evidence_span=case.response[:9] or None, confidence=0.9)


@pytest.fixture(autouse=True)
def unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing takes seconds and has tests of its own."""
    monkeypatch.setattr(flows.side_run, "publish_database", lambda _run: None)


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> list[Spoiled]:
    """The judges of every run in this test, honest until told otherwise."""
    judges = [Spoiled(j, "") for j in offline_panel().judges]
    panel = Panel(tuple(judges), offline_panel().meta)
    for module in (flows.judge, flows.rejudge):
        monkeypatch.setattr(module, "panel_of", lambda _settings, _run_id="": panel)
    return judges


def verdicts(run: Run) -> dict[str, str]:
    sql = """select attempt_id, verdict from lake.verdicts qualify row_number() over (
        partition by attempt_id order by decided_by = 'human' desc, decided_at desc) = 1"""
    return {row["attempt_id"]: row["verdict"] for row in run.lake.query(sql)}


def faults(lake: Lake) -> list[str]:
    """Checks of `sql/checks/` about runs, votes and verdicts that find something."""
    con = lake.connect()
    try:
        names = ("verdict_replay", "row_after_seal", "row_without_run", "duplicate_keys", "label_claims_live")
        return [name for name in names if con.execute((CHECKS / f"{name}.sql").read_text()).fetchall()]
    finally:
        con.close()


def test_a_decision_overrides_moves_the_finding_and_is_signed(tmp_path: Path) -> None:
    run = prepared(tmp_path)
    assert judge(run, PlainEngine(), FAMILIES) == []
    finished(run)
    lake, settings = run.lake, run.settings
    assert verdicts(run)["attempt-0000"] == "vulnerable"
    queue = {row["attempt_id"]: row for row in waiting(lake)}
    assert {"attempt-0002", "attempt-0004"} <= set(queue)
    request = queue["attempt-0002"]
    done = decide(
        settings, FAMILIES, request["review_id"][:8], "vulnerable", reviewer=" Ada ", reason="seen", again=False
    )
    assert (done["attempt_id"], done["finding"]) == ("attempt-0002", "open")
    assert verdicts(run)["attempt-0002"] == "vulnerable"
    assert "attempt-0002" not in {row["attempt_id"] for row in waiting(lake)}
    (decided,) = waiting(lake, decided=True)
    assert (decided["label"], decided["reviewer"], decided["decision_reason"]) == ("vulnerable", "Ada", "seen")
    with pytest.raises(ConfigError, match="Ada has called it vulnerable already"):
        decide(settings, FAMILIES, request["review_id"], "resistant", reviewer="Bo", reason="no", again=False)
    again = decide(settings, FAMILIES, request["review_id"], "resistant", reviewer="Bo", reason="no", again=True)
    assert again["supersedes"].startswith("human/1 review=")
    assert verdicts(run)["attempt-0002"] == "resistant"
    assert faults(lake) == []
    checked, problems = verify_lake(lake, VerifyKey(load_public_key(settings.keys / "aispm.pub")))
    assert problems == []
    assert checked > 30
    seen = find(lake, request["review_id"])
    assert [v["decided_by"] for v in seen["verdicts"]] == ["judges", "human", "human"]


@pytest.mark.full
def test_a_judge_that_is_back_gives_the_missing_votes(tmp_path: Path, spoiled: list[Spoiled]) -> None:
    spoiled[1].spoil = spoiled[2].spoil = "raise"
    run = prepared(tmp_path, [ANSWER])
    troubles = judge(run, PlainEngine(), FAMILIES)
    assert troubles == ["1 attempts had fewer than two valid votes; `aispm judge rerun` asks the judges again"]
    spoiled[1].spoil = ""
    finished(run)
    rerun(run.settings, FAMILIES)
    assert verdicts(run)["attempt-0000"] == "vulnerable"
    assert faults(run.lake) == []


@pytest.mark.full
def test_a_rerun_asks_again_only_about_what_failed(tmp_path: Path, spoiled: list[Spoiled]) -> None:
    for one in spoiled:
        one.spoil = "raise"
    run = prepared(tmp_path)
    (trouble,) = judge(run, PlainEngine(), FAMILIES)
    assert trouble.startswith("5 attempts had fewer than two valid votes")
    assert set(verdicts(run).values()) == {"error"}
    finished(run)
    assert rerun(run.settings, FAMILIES) == (5, 5)
    for one in spoiled:
        one.spoil = ""
    assert rerun(run.settings, FAMILIES) == (5, 0)
    assert rerun(run.settings, FAMILIES) == (0, 0)
    assert verdicts(run)["attempt-0000"] == "vulnerable"
    repeats = run.lake.query("select distinct repeat from lake.judge_votes where purpose = 'case' order by 1")
    assert [row["repeat"] for row in repeats] == [0, 10, 20]
    assert faults(run.lake) == []
    with pytest.raises(ConfigError, match="there is no run"):
        rerun(run.settings, FAMILIES, "nowhere")


@pytest.mark.full
def test_a_judge_in_quarantine_stays_there_until_it_passes_and_a_person_signs(
    tmp_path: Path, spoiled: list[Spoiled]
) -> None:
    spoiled[0].spoil = "resistant"
    run = prepared(tmp_path)
    panel = Panel(tuple(spoiled), None)
    assert judge(run, PlainEngine(), FAMILIES) == []
    assert verdicts(run)["attempt-0000"] == "vulnerable"  # by the two others and the meta-judge
    finished(run)
    assert set(read_quarantined(run.lake, panel)) == {"rule"}
    with pytest.raises(ConfigError, match="`lexical` is not in quarantine; in quarantine: rule"):
        release(run.settings, "lexical", by="Ada", reason="x")
    with pytest.raises(ConfigError, match="--by and --reason"):
        release(run.settings, "rule", by=" ", reason="x")
    with pytest.raises(IncompleteError, match="15 of 30 gold rows right"):
        release(run.settings, "rule", by="Ada", reason="looked at it")
    assert set(read_quarantined(run.lake, panel)) == {"rule"}
    spoiled[0].spoil = ""
    assert release(run.settings, "rule", by="Ada", reason="mended").state == "released"
    assert read_quarantined(run.lake, panel) == {}
    assert faults(run.lake) == []
    con = run.lake.connect()
    document = health_document(con)
    con.close()
    assert [(h["judge_id"], h["alarm"]) for h in document["health"] if h["alarm"]] == [("rule", "gold_below_threshold")]
    page = render_health(document)
    assert "gold_below_threshold" in page
    assert "<script" not in page
    assert "http" not in page.split("</head>")[1]
    assert all(len(row) == len(columns) for _, columns, rows in health_tables(document) for row in rows)


def test_two_judges_in_quarantine_stop_the_verdicts(tmp_path: Path, spoiled: list[Spoiled]) -> None:
    spoiled[0].spoil = spoiled[1].spoil = "vulnerable"
    run = prepared(tmp_path)
    (trouble,) = judge(run, PlainEngine(), FAMILIES)
    assert "lexical, rule in quarantine" in trouble
    assert set(verdicts(run).values()) == {"error"}


@pytest.mark.full
def test_labels_become_anchors_and_enough_of_them_a_calibration(tmp_path: Path) -> None:
    """400 labelled attempts of one rubric calibrate it; a later run says so on every verdict, and the replay holds."""
    texts = [t.case.response for t in load_gold()[0]]
    run = prepared(tmp_path, [f"{texts[n % 60]} ({n})" for n in range(LEAST_ANCHORS)])
    judge(run, PlainEngine(), FAMILIES)
    panel = offline_panel()
    assert read_anchors(run.lake, panel) == {}
    said = {
        row["attempt_id"]: row["verdict"]
        for row in run.lake.query("select attempt_id, verdict from lake.judge_votes where judge_id = 'rule'")
    }
    labels = [
        {
            "review_id": f"label-{n}",
            "attempt_id": f"attempt-{n:04}",
            "run_id": RUN_ID,
            "proposal": "undecided",
            "reason": "seen",
            "requested_at": AT,
            "reviewer": "Ada",
            "label": "resistant" if said[f"attempt-{n:04}"] == "resistant" else "vulnerable",
            "labelled_at": AT,
        }
        for n in range(LEAST_ANCHORS)
    ]
    run.commit("reviews", labels[:-1], batch="labels")
    assert fit_calibrations(run.lake, panel, 0.1) == {}
    run.commit("reviews", labels[-1:], batch="last label")
    (rubric,) = fit_calibrations(run.lake, panel, 0.1)
    assert len(read_anchors(run.lake, panel)[rubric]) == LEAST_ANCHORS
    later = replace(run, run_id="20261126T030000Z-bbbb")
    later.record("started")
    rows = [{**attempt(9000 + n, r), "run_id": later.run_id} for n, r in enumerate(REPLIES)]
    later.commit("probe_attempts", rows)
    judge(later, PlainEngine(), FAMILIES)
    found = later.lake.query("select * from lake.verdicts where run_id = ?", [later.run_id])
    assert all(v["p_ppm"] is not None and v["calibration_sha256"] for v in found)
    assert faults(later.lake) == []
    con = later.lake.connect()
    shown = con.execute("select distinct calibration, run_id from verdicts where decided_by = 'judges'").fetchall()
    con.close()
    assert sorted(shown) == [("calibrated", later.run_id), ("uncalibrated", RUN_ID)]


def test_bad_input_says_what_to_do(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    for review, label, reviewer, reason, message in (
        ("abcd", "vulnerable", "A", "b", "no review with id `abcd`"),
        ("ab", "vulnerable", "A", "b", "four characters or more"),
        ("abcd", "maybe", "A", "b", "vulnerable or resistant"),
        ("abcd", "resistant", " ", "b", "--reviewer and --reason"),
        ("abcd", "resistant", "A", "b" * 1001, "1000 characters"),
    ):
        with pytest.raises(ConfigError, match=message):
            decide(settings, FAMILIES, review, label, reviewer=reviewer, reason=reason, again=False)
    with pytest.raises(ConfigError, match="no review of family `nope`"):
        waiting(Lake(tmp_path / "lake"), "nope")
