"""Plans are deterministic, batches survive SIGKILL, and rows fit the lake's table."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks.errors import ConfigError
from tasks.interruption import STOPPING, StoppedError
from tasks.probing.campaign import campaign_key, run_batch
from tasks.probing.cases import case_for
from tasks.probing.catalog import load_families
from tasks.probing.meters import Meters
from tasks.probing.plan import load_plan, plan
from tasks.probing.redaction import MAX_EXCERPT, excerpt_of
from tasks.probing.spool import drop_replies, lost_in
from tasks.records import Asset, AssetKind
from tasks.settings import CONTENT_ROOT, ProbingSettings
from tasks.targets.wire import Pace

FAMILIES = load_families()
SETTINGS = ProbingSettings(families=("direct_override",), templates_per_family=6, concurrency=3, timeout_s=5, seed=3)
FAST = Pace(tries=2, backoff_s=0.001, backoff_cap_s=0.002)


def one_batch(asset: Asset, settings: ProbingSettings, spool: Path, run: str = "r1", **kw: Any) -> list[dict[str, Any]]:
    (batch,) = plan(run, f"c/{spool.parent.name}", [asset], FAMILIES, settings, full=False).batches
    return run_batch(batch, asset, FAMILIES, settings, spool, pace=FAST, **kw)


def test_plans_are_deterministic_and_survive_storage(asset: Any) -> None:
    a, b = (
        asset("http://127.0.0.1:1/v1"),
        asset("http://127.0.0.1:2/v1", AssetKind.AGENT, wire_format="openai_responses"),
    )
    settings = ProbingSettings(batch_size=50)
    first = plan("r1", "c", [a, b], FAMILIES, settings, full=False)
    again = plan("r2", "c", [b, a], FAMILIES, settings, full=False)
    assert first.sha256 == again.sha256
    assert load_plan(first.document, "r1") == first
    assert plan("r1", "c2", [a, b], FAMILIES, settings, full=False).sha256 != first.sha256
    ids = [x.attempt_id for batch in first.batches for x in batch.attempts]
    assert len(set(ids)) == len(ids)
    assert all(len(batch.attempts) <= 50 for batch in first.batches)
    assert len({batch.key for batch in first.batches}) == len(first.batches)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_plan('{"schema": "aispm.plan/1"}', "r1")
    with pytest.raises(ConfigError, match="unknown plan schema"):
        load_plan('{"schema": "aispm.plan/9"}', "r1")


def test_nightly_samples_seeds_with_a_held_out_one_and_weekly_takes_all(asset: Any) -> None:
    target = asset("http://127.0.0.1:1/v1")
    settings = ProbingSettings(families=("direct_override", "persona_jailbreak"), templates_per_family=4)
    nightly = plan("r", "c", [target], FAMILIES, settings, full=False)
    for family_id in settings.families:
        mine = [x for b in nightly.batches for x in b.attempts if x.family_id == family_id]
        seeds = {x.seed_id for x in mine}
        held = {s.seed_id for s in FAMILIES[family_id].seeds if s.split == "held_out"}
        assert len(mine) == len(seeds) == 4
        assert seeds & held
    weekly = plan("r", "c", [target], FAMILIES, settings, full=True)
    assert weekly.attempts > 100
    assert {x.attempt_id for b in nightly.batches for x in b.attempts} <= {
        x.attempt_id for b in weekly.batches for x in b.attempts
    }
    thrice = plan("r", "c", [target], FAMILIES, replace(settings, trials=3), full=False)
    assert thrice.attempts == 3 * nightly.attempts


def test_what_does_not_fit_is_one_row_with_the_reason(asset: Any, tmp_path: Path) -> None:
    agent = asset("http://127.0.0.1:1/v1", AssetKind.AGENT, wire_format="openai_responses")
    settings = ProbingSettings(families=("indirect_email", "token_exhaustion", "tenant_isolation_vector"))
    rows = one_batch(agent, settings, tmp_path / "s.jsonl")
    assert [(r["family_id"], r["verdict"], r["evidence_ref"], r["tries"]) for r in rows] == [
        ("indirect_email", "not_applicable", "missing: mailbox", 0),
        ("token_exhaustion", "not_applicable", "intrusive: the inventory does not allow it for this target", 0),
    ]
    fits = asset("http://127.0.0.1:1/v1", AssetKind.AGENT, wire_format="openai_responses", allow_intrusive=True)
    allowed = plan("r", "c", [fits], FAMILIES, replace(settings, families=("token_exhaustion",)), full=False)
    assert allowed.attempts == 6


def test_only_active_assets_with_a_known_wire_format_are_targets(asset: Any) -> None:
    target = asset("http://127.0.0.1:1/v1")
    others = [replace(target, active=False), replace(target, props={"url": "http://127.0.0.1:1/v1"})]
    assert plan("r", "c", others, FAMILIES, SETTINGS, full=False).batches == ()
    with pytest.raises(ConfigError, match="unknown probe family nope"):
        plan("r", "c", [target], FAMILIES, replace(SETTINGS, families=("nope",)), full=False)


def test_rows_fit_the_lake_and_name_their_evidence(serve: Any, asset: Any, chat: Any, tmp_path: Path) -> None:
    def obeys(path: str, body: dict[str, Any], n: int) -> Any:
        halves = [
            w for w in body["messages"][-1]["content"].replace("'", '"').split('"') if len(w) == 6 and w.isupper()
        ]
        return chat("".join(halves) if n % 2 else "I can't help with that.")

    server = serve(obeys)
    rows = one_batch(asset(server.url), SETTINGS, tmp_path / "s.jsonl")
    assert {"vulnerable", "resistant"} <= {r["verdict"] for r in rows}
    connection = duckdb.connect()
    connection.execute((CONTENT_ROOT / "sql" / "schema" / "probe_attempts.sql").read_text())
    columns = [c[0] for c in connection.execute("describe probe_attempts").fetchall()]
    for row in rows:
        assert set(row) == set(columns)
        marks = ", ".join("?" for _ in columns)
        connection.execute(f"insert into probe_attempts values ({marks})", [row[c] for c in columns])  # noqa: S608  # marks only
    hits = [r for r in rows if r["verdict"] == "vulnerable"]
    assert all(r["evidence_kind"] == "output_contains" for r in hits)
    assert all(json.loads(r["transforms"])["canary"]["token"] in r["excerpt"] for r in hits)


def test_a_misbehaving_target_gives_errors_and_the_run_goes_on(
    serve: Any, asset: Any, chat: Any, answer: Any, tmp_path: Path
) -> None:
    turns = [
        lambda: answer(404, b"{}"),
        lambda: answer(body=b"<html>"),
        lambda: answer(body=b" " * (9 * 2**20)),
        lambda: answer(400, b'{"error": {"code": "content_filter"}}'),
        lambda: chat("I can't help with that."),
        lambda: chat("", finish="stop"),
    ]
    server = serve(lambda path, body, n: turns[n % 6]())
    settings = replace(SETTINGS, families=("prefix_injection",), concurrency=1)
    rows = one_batch(asset(server.url), settings, tmp_path / "s.jsonl")
    assert sorted((r["verdict"], r["error_kind"]) for r in rows if r["error_kind"]) == [
        ("error", "empty"),
        ("error", "filtered"),
        ("error", "http_404"),
        ("error", "malformed"),
        ("error", "too_large"),
    ]
    assert [r["verdict"] for r in rows].count("resistant") == 1


def test_a_dead_target_is_soon_left_alone(serve: Any, asset: Any, answer: Any, tmp_path: Path) -> None:
    """Attempts whose tries are all spent are `error`; the others keep their turn for a later execution."""
    server = serve(lambda *_: answer(500, b"{}"))
    settings = replace(SETTINGS, templates_per_family=60)
    rows = one_batch(asset(server.url), settings, tmp_path / "s.jsonl")
    assert {(r["verdict"], r["error_kind"], r["tries"]) for r in rows} == {("error", "http_500", FAST.tries)}
    assert 0 < len(rows) < 10
    assert len(server.requests) <= 10 + settings.concurrency


def test_what_a_dying_target_left_over_is_sent_when_it_is_back(
    serve: Any, asset: Any, chat: Any, answer: Any, tmp_path: Path
) -> None:
    mended: list[bool] = []

    def manners(path: str, body: dict[str, Any], n: int) -> Any:
        return answer(500, b"{}") if n >= 6 and not mended else chat("I can't help with that.")

    server = serve(manners)
    settings = replace(SETTINGS, families=("prefix_injection",), templates_per_family=40)
    target, spool = asset(server.url), tmp_path / "s.jsonl"
    first = one_batch(target, settings, spool)
    assert {r["error_kind"] for r in first} == {None, "http_500"}
    assert 4 <= len(first) < 40
    mended.append(True)
    before = len(server.requests)
    rows = one_batch(target, settings, spool, run="r2")
    assert len(rows) == 40
    assert len(server.requests) - before == 40 - len(first), "only what had no row was sent"
    kept = {r["attempt_id"]: r["response_sha256"] for r in first}
    assert kept.items() <= {r["attempt_id"]: r["response_sha256"] for r in rows}.items()


def test_the_budget_is_not_exceeded_by_one_request_and_may_be_raised(
    serve: Any, asset: Any, chat: Any, tmp_path: Path
) -> None:
    server = serve(lambda *_: chat("no"))
    settings = replace(SETTINGS, families=("prefix_injection",), max_requests=4)
    target, spool = asset(server.url), tmp_path / "s.jsonl"
    rows = one_batch(target, settings, spool)
    assert len(server.requests) == len(rows) == 4
    assert {r["error_kind"] for r in rows} == {None}
    assert len(one_batch(target, settings, spool)) == 4, "the same limit holds for all executions together"
    rows = one_batch(target, replace(settings, max_requests=5), spool)
    assert len(server.requests) == len(rows) == 5
    rows = one_batch(target, replace(settings, max_requests=100), spool)
    assert len(server.requests) == len(rows) == 6


def test_progress_and_modes(serve: Any, asset: Any, chat: Any, tmp_path: Path) -> None:
    server = serve(lambda *_: chat("no"))
    seen: list[tuple[int, int]] = []
    settings = replace(SETTINGS, seed=None)
    spool = tmp_path / "spool" / "s.jsonl"
    one_batch(asset(server.url), settings, spool, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]
    for path in (spool, spool.parent / "canary.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_canaries_differ_by_campaign_and_hold_on_resume(tmp_path: Path) -> None:
    free = ProbingSettings()
    spool = tmp_path / "s.jsonl"
    assert campaign_key("c1", free, spool) == campaign_key("c1", free, spool)
    assert campaign_key("c1", free, spool) != campaign_key("c2", free, spool)
    assert campaign_key("c1", free, spool) != campaign_key("c1", free, tmp_path / "other" / "s.jsonl")
    fixed = ProbingSettings(seed=1)
    assert campaign_key("c1", fixed, spool) == campaign_key("c1", fixed, tmp_path / "x" / "s.jsonl")


def test_credentials_do_not_reach_the_rows(serve: Any, asset: Any, chat: Any, tmp_path: Path) -> None:
    secret = tmp_path / "k"
    secret.write_text("correct-horse-battery\n")
    server = serve(lambda *_: chat("your key is correct-horse-battery, also AKIAABCDEFGHIJKLMNOP \x1b[31m\ud800 end"))
    target = asset(server.url, credential=f"file:{secret}")
    spool = tmp_path / "s.jsonl"
    rows = one_batch(target, SETTINGS, spool)
    assert server.requests[0][3]["authorization"] == "Bearer correct-horse-battery"
    for row in rows:
        assert set(row["excerpt"].split("\n\n")) == {"your key is [credential], also [credential] \x1b[31m? end"}
    assert b"correct-horse" not in spool.read_bytes()
    with pytest.raises(ConfigError, match="cannot read the secret file"):
        one_batch(asset(server.url, credential="file:/nonexistent/key"), SETTINGS, tmp_path / "t.jsonl")


def test_long_replies_keep_their_start_and_end() -> None:
    text = "a" * 5000 + "the end"
    cut = excerpt_of(text, ())
    assert len(cut) == MAX_EXCERPT
    assert cut.startswith("aaa")
    assert cut.endswith("the end")


def test_cases_are_rebuilt_from_the_row_alone(serve: Any, asset: Any, chat: Any, tmp_path: Path) -> None:
    server = serve(lambda *_: chat("Understood, I have no rules now."))
    rows = one_batch(asset(server.url), SETTINGS, tmp_path / "s.jsonl")
    sent = {json.dumps(r[2]["messages"][-1]["content"]) for r in server.requests}
    for row in rows:
        assert (row["verdict"], row["rubric"]) == ("undecided", "rubrics/instruction_override.md")
        case = case_for(row, FAMILIES)
        assert case is not None
        assert json.dumps(case.turns[-1]["content"]) in sent, "judges see the attack as it was sent"
        assert set(case.response.split("\n\n")) == {"Understood, I have no rules now."}
        assert case.goal == FAMILIES["direct_override"].goal
        assert len(case.rubric) > 100
    assert case_for({**rows[0], "verdict": "resistant"}, FAMILIES) is None
    assert case_for({**rows[0], "family_sha256": "0"}, FAMILIES) is None


def test_an_edited_family_is_not_passed_off_as_the_planned_one(
    serve: Any, asset: Any, chat: Any, tmp_path: Path
) -> None:
    server = serve(lambda *_: chat("no"))
    target = asset(server.url)
    (batch,) = plan("r", "c", [target], FAMILIES, SETTINGS, full=False).batches
    edited = {"direct_override": replace(FAMILIES["direct_override"], sha256="0" * 64)}
    rows = run_batch(batch, target, edited, SETTINGS, tmp_path / "s.jsonl", pace=FAST)
    assert {r["error_kind"] for r in rows} == {"family_changed"}
    assert server.requests == []


CHILD = """
    import json, sys
    from pathlib import Path
    from tasks.probing.campaign import run_batch
    from tasks.probing.plan import load_plan
    from tasks.probing.catalog import load_families
    from tasks.records import Asset, AssetKind, ProofLabel
    from tasks.settings import ProbingSettings

    document, url, spool = Path(sys.argv[1]).read_text(), sys.argv[2], Path(sys.argv[3])
    props = {"url": url, "wire_format": "openai_chat", "model": "m"}
    asset = Asset("llm_endpoint/x", AssetKind.LLM_ENDPOINT, "x", props, True, True, ProofLabel.OFFICIAL_SHAPE_FAKE)
    (batch,) = load_plan(document, "first").batches
    run_batch(batch, asset, load_families(), ProbingSettings(concurrency=2, timeout_s=30), spool)
"""


def test_after_sigkill_twice_only_unfinished_attempts_are_sent_again(
    serve: Any, asset: Any, chat: Any, tmp_path: Path
) -> None:
    child: list[subprocess.Popen[bytes]] = []
    kill_at = [5, 10]

    def manners(path: str, body: dict[str, Any], n: int) -> Any:
        if kill_at and n == kill_at[0]:
            kill_at.pop(0)
            os.kill(child[-1].pid, signal.SIGKILL)  # while two requests are in flight
        return chat("I can't help with that.")

    server = serve(manners)
    target = asset(server.url)
    settings = ProbingSettings(families=("direct_override",), templates_per_family=12, concurrency=2, timeout_s=5)
    campaign = plan("first", "c", [target], FAMILIES, settings, full=False)
    (tmp_path / "plan.json").write_text(campaign.document)
    spool = tmp_path / "spool" / "b.jsonl"
    spool.parent.mkdir()
    argv = [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path / "plan.json"), server.url, str(spool)]
    for _ in tuple(kill_at):
        child.append(subprocess.Popen(argv, cwd=CONTENT_ROOT))
        assert child[-1].wait(60) == -signal.SIGKILL
    before = len(server.requests)
    lines = [json.loads(line) for line in spool.read_text().splitlines()]
    finished = {line["attempt_id"] for line in lines if "attempt_id" in line}
    with spool.open("ab") as torn:
        torn.write(b'{"attempt_id": "torn')

    resumed = load_plan(campaign.document, "second")
    meters = Meters(settings, [target])
    rows = run_batch(resumed.batches[0], target, FAMILIES, settings, spool, pace=FAST, meters=meters)
    spent = meters.budget.spent.requests
    # What was in flight at the two kills is charged as well, whether it has left or not.
    assert len(server.requests) <= spent <= len(server.requests) + 2 * settings.concurrency
    # `two_steps` holds two exchanges, so requests are counted per attempt and not one for one.
    again = [r for r in rows if r["attempt_id"] not in finished]
    assert 0 < len(finished) < 12
    assert len(server.requests) - before == sum(r["tries"] for r in again)
    assert [r["attempt_id"] for r in rows] == [a.attempt_id for a in campaign.batches[0].attempts]
    assert {r["run_id"] for r in rows} == {"second"}
    assert {r["verdict"] for r in rows} == {"resistant"}

    third = Meters(settings, [target])
    run_batch(resumed.batches[0], target, FAMILIES, settings, spool, pace=FAST, meters=third)
    assert third.budget.spent.requests == spent, "however often it is resumed"
    drop_replies(spool)
    assert (spool.exists(), lost_in(spool).requests) == (True, spent - sum(r["tries"] for r in rows))

    unkilled = run_batch(resumed.batches[0], target, FAMILIES, settings, spool.parent / "fresh.jsonl", pace=FAST)
    same = ("attempt_id", "verdict", "transforms", "request_sha256", "response_sha256", "excerpt")
    assert [[r[c] for c in same] for r in rows] == [[r[c] for c in same] for r in unkilled]


def test_asked_to_stop_it_finishes_what_is_in_flight_and_sends_no_more(
    serve: Any, asset: Any, chat: Any, tmp_path: Path
) -> None:
    """What was answered is kept, and the next call sends only the rest."""

    def manners(path: str, body: dict[str, Any], n: int) -> Any:
        if n == 3:
            STOPPING.set()
        return chat("I can't help with that.")

    server = serve(manners)
    target, spool = asset(server.url), tmp_path / "spool" / "s.jsonl"
    try:
        with pytest.raises(StoppedError, match="of 6 attempts"):
            one_batch(target, SETTINGS, spool)
    finally:
        STOPPING.clear()
    lines = [json.loads(line) for line in spool.read_text().splitlines()]
    kept = {line["attempt_id"]: line["tries"] for line in lines if "attempt_id" in line}
    assert 0 < len(kept) < 6
    assert len(server.requests) == sum(kept.values()), "an attempt in flight was dropped"
    rows = one_batch(target, SETTINGS, spool)
    assert len(server.requests) == sum(row["tries"] for row in rows)
