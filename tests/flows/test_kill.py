"""SIGKILL at every named step, then the same command again: nothing lost, nothing twice, no finished attempt repeated.

kill -9 is not a power cut: files that were written but not fsynced survive here.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flow_homes import Home, asset_yaml
from nacl.signing import VerifyKey
from small_target import SmallTarget

from tasks.crash import POINTS
from tasks.evidence import verify_lake
from tasks.lake import tables
from tasks.reporting.signing import load_public_key, verify_file

MANNERS = {"obedient": "obedient", "evasive": "evasive", "refusing": "refusing"}
LONGEST_CONVERSATION = 2
"""Requests of one attempt of the families used here."""
IN_FLIGHT = len(MANNERS) * 1
"""Attempts that a kill can catch: `concurrency` of each target."""
PER_RUN = [name for name in tables() if name not in ("runs", "controls", "kind_controls", "control_overlaps")]
"""Tables whose rows belong to one run. Catalogues load once per edition, and `runs` tells the story of the kills."""

SAMPLE = [
    point for n, point in enumerate(POINTS) if n % 6 == 0 or point in ("probe:during", "seal:during", "report:after")
]
"""Killed at in `make test`; all of them in `make test-full`."""

HomeMaker = Callable[..., Home]
TargetMaker = Callable[..., SmallTarget]


def small_home(home: HomeMaker, target: SmallTarget, folder: str) -> Home:
    return home([asset_yaml(name, target.url(name)) for name in MANNERS], folder=folder, concurrency=1)


def assert_keys_are_unique(home: Home) -> None:
    for spec in tables().values():
        key = ", ".join(f'"{name}"' for name in spec.key)
        again = home.rows(f"select {key} from lake.{spec.name} group by {key} having count(*) > 1")  # noqa: S608 - names from our DDL
        assert not again, f"{spec.name} holds {len(again)} keys twice"


def counts(home: Home, run_id: str) -> dict[str, int]:
    count = "select count(*) as n from lake.{} where run_id = ?"
    return {table: home.rows(count.format(table), run_id)[0]["n"] for table in PER_RUN}


def verdicts(home: Home, run_id: str) -> list[tuple[Any, ...]]:
    """What was attempted and how it was judged, without what differs from campaign to campaign."""
    rows = home.rows(
        """select a.asset_id, a.family_id, a.template_sha256, a.trial, a.verdict as seen, v.verdict, v.decided_by
           from lake.probe_attempts a left join lake.verdicts v using (run_id, attempt_id)
           where a.run_id = ? order by all""",
        run_id,
    )
    return [tuple(row.values()) for row in rows]


def findings(home: Home, run_id: str) -> list[tuple[Any, ...]]:
    rows = home.rows(
        "select finding_id, seq, severity, state, hits, trials from lake.findings where run_id = ? order by all", run_id
    )
    return [tuple(row.values()) for row in rows]


def assert_every_planned_attempt_once(home: Home, run_id: str) -> None:
    plan = home.rows("select detail from lake.evidence where kind = 'plan' and run_id = ?", run_id)
    assert len(plan) == 1
    batches = json.loads(plan[0]["detail"])["batches"]
    assert len(batches) > 3, "the kill between batches needs several"
    planned = Counter(a["attempt_id"] for batch in batches for a in batch["attempts"])
    for table in ("probe_attempts", "verdicts"):
        rows = home.rows(f"select attempt_id from lake.{table} where run_id = ?", run_id)  # noqa: S608 - one of two
        stored = Counter(row["attempt_id"] for row in rows)
        assert stored == planned, table


def assert_proven(home: Home, run_ids: list[str]) -> None:
    public = load_public_key(home.state / "keys" / "aispm.pub")
    checked, problems = verify_lake(home.lake, VerifyKey(public), run_ids)
    assert checked > 0
    assert not problems
    for run_id in run_ids:
        for name in ("posture.json", "package.json"):
            assert verify_file(home.report(run_id) / name, public).status == "ok"


def runs(home: Home) -> dict[str, list[str]]:
    """Run id -> its states in order."""
    found: dict[str, list[str]] = {}
    for row in home.rows("select run_id, state from lake.runs order by run_id, seq"):
        found.setdefault(row["run_id"], []).append(row["state"])
    return found


def finished_attempts(home: Home) -> dict[str, str]:
    """Attempt id -> when its request left, for all that is committed or in the spool."""
    done = {
        row["attempt_id"]: row["started_at"].isoformat()
        for row in home.rows("select attempt_id, started_at from lake.probe_attempts")
    }
    for file in (home.state / "spool").glob("*/*.jsonl"):
        for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
            row = json.loads(line)
            if "started_at" in row:  # the other lines say what was reserved before a request left
                done[row["attempt_id"]] = row["started_at"]
    return done


def died(home: Home, point: str) -> None:
    result = home.run(crash_at=point)
    assert result.returncode == -signal.SIGKILL, f"{point} was not reached: {result.stdout}{result.stderr[-2000:]}"


@pytest.mark.parametrize("points", [SAMPLE, pytest.param(POINTS, marks=pytest.mark.full)], ids=["sample", "all"])
def test_a_run_killed_at_every_step_ends_as_if_it_had_not_been(
    points: Sequence[str], home: HomeMaker, target: TargetMaker
) -> None:
    service = target(**MANNERS)
    calm = small_home(home, service, "calm")
    reference = calm.run()
    assert reference.returncode == 0, reference.stdout + reference.stderr
    (unkilled,) = runs(calm)

    shot = small_home(home, service, "shot")
    before = sum(service.probes.values())
    done: dict[str, str] = {}
    for point in points:
        died(shot, point)
        if point == "probe:during":
            done = finished_attempts(shot)
            assert done
    (killed,) = runs(shot)
    resent = sum(service.probes.values()) - 2 * before

    assert runs(shot)[killed][0] == "started"
    assert runs(shot)[killed][-1] == "complete"
    assert set(runs(shot)[killed][1:-1]) == {"resumed", "complete"}
    assert counts(shot, killed) == counts(calm, unkilled)
    assert verdicts(shot, killed) == verdicts(calm, unkilled)
    assert findings(shot, killed) == findings(calm, unkilled)
    assert counts(shot, killed)["quarantined_rows"] == 0
    assert_every_planned_attempt_once(shot, killed)
    assert_keys_are_unique(shot)
    assert 0 <= resent <= IN_FLIGHT * LONGEST_CONVERSATION
    after = finished_attempts(shot)
    assert {attempt: after[attempt] for attempt in done} == done, "a finished attempt was sent again"
    assert_proven(shot, [killed])

    # `report:after` lies behind the last file: that run was over, and the next command is a new one.
    final = shot.run()
    assert final.returncode == 0, final.stdout + final.stderr
    (_, second) = sorted(runs(shot))
    assert runs(shot)[second] == ["started", "complete"]
    assert [row[:4] for row in verdicts(shot, second)] == [row[:4] for row in verdicts(calm, unkilled)]
    assert shot.posture(second)["run"]["previous_run_id"] == killed
    assert_keys_are_unique(shot)
    assert_proven(shot, [killed, second])
    assert not list((shot.state / "spool").glob("*/*.jsonl")), "sealed replies were left in the spool"


@pytest.mark.full
@pytest.mark.parametrize("point", POINTS)
def test_one_kill_at(point: str, home: HomeMaker, target: TargetMaker) -> None:
    service = target(**MANNERS)
    calm = small_home(home, service, "calm")
    assert calm.run().returncode == 0
    (unkilled,) = runs(calm)
    shot = small_home(home, service, "shot")
    died(shot, point)
    done = finished_attempts(shot)
    final = shot.run()
    assert final.returncode == 0, final.stdout + final.stderr
    killed = min(runs(shot))
    assert len(runs(shot)) == (2 if point == "report:after" else 1)
    assert counts(shot, killed) == counts(calm, unkilled)
    assert verdicts(shot, killed) == verdicts(calm, unkilled)
    assert_every_planned_attempt_once(shot, killed)
    assert_keys_are_unique(shot)
    after = finished_attempts(shot)
    assert {attempt: after[attempt] for attempt in done} == done
    assert_proven(shot, sorted(runs(shot)))
