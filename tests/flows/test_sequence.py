"""Runs after one another and at once: stable ids, a trend, findings that close and return, one writer at a time."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable

import pytest
from flow_homes import Home, asset_yaml
from small_target import SmallTarget

HomeMaker = Callable[..., Home]
TargetMaker = Callable[..., SmallTarget]
FEW = ("direct_override", "prefix_injection")


def test_ids_last_and_a_finding_closes_and_returns(home: HomeMaker, target: TargetMaker) -> None:
    service = target(one="obedient", two="garbage")
    here = home([asset_yaml(name, service.url(name)) for name in ("one", "two")], families=FEW)

    first = here.inside()
    service.manners["two"] = "refusing"
    second = here.inside()
    service.manners["one"] = "refusing"
    mended = here.inside()
    service.manners["one"] = "obedient"
    broken = here.inside()

    assert [run.state for run in (first, second, mended, broken)] == ["incomplete", "complete", "complete", "complete"]
    assets = [{a["asset_id"]: (a["name"], a["first_seen"]) for a in o.posture["assets"]} for o in (first, second)]
    assert assets[0] == assets[1], "asset ids or first sight changed"
    assert len(second.posture["trend"]) == 2
    assert [entry["run_id"] for entry in second.posture["trend"]] == [first.run_id, second.run_id]
    assert second.posture["run"]["previous_run_id"] == first.run_id
    assert second.posture["summary"]["assets_new"] == 0

    def probed(run_id: str) -> dict[str, str]:
        rows = here.rows(
            "select finding_id, state from lake.findings where run_id = ? and rule_id = 'prefix_injection'", run_id
        )
        return {row["finding_id"]: row["state"] for row in rows}

    (finding,) = probed(first.run_id)
    states = [probed(outcome.run_id)[finding] for outcome in (first, second, mended, broken)]
    assert states == ["open", "open", "fixed", "regressed"]
    discovered = here.rows("select distinct discovered_at from lake.findings where finding_id = ?", finding)
    assert len(discovered) == 1


@pytest.mark.full
def test_a_removed_asset_takes_its_findings_along(home: HomeMaker, target: TargetMaker) -> None:
    """What is no longer declared or seen is gone; its findings close and stop counting."""
    service = target(one="obedient", two="obedient")
    entries = [asset_yaml(name, service.url(name)) for name in ("one", "two")]
    here = home(entries, families=FEW)
    first = here.inside()
    here.inventory.write_text("schema: aispm.inventory/1\nassets:\n" + entries[0], encoding="utf-8")
    second = here.inside()

    assert second.posture["summary"]["assets_gone"] > 0
    present = {asset["asset_id"] for asset in second.posture["assets"] if asset["state"] == "present"}
    active = [f for f in second.posture["findings"] if f["state"] != "fixed"]
    assert active
    assert {f["asset_id"] for f in active} <= present
    assert sum(second.posture["summary"]["findings"].values()) < sum(first.posture["summary"]["findings"].values())


def test_the_second_of_two_runs_is_refused_while_the_first_works(home: HomeMaker, target: TargetMaker) -> None:
    service = target(one="slow")
    here = home([asset_yaml("one", service.url("one"))], families=FEW)
    first = here.start()
    try:
        lock = here.state / "run.lock"
        while not (lock.exists() and lock.read_text(encoding="utf-8") == str(first.pid)):
            assert first.poll() is None, "the first run ended"
            time.sleep(0.05)

        while not here.rows("select run_id from lake.runs"):  # or it is ended before it has begun
            assert first.poll() is None, "the first run ended"
            time.sleep(0.05)

        second = here.run()

        assert first.poll() is None, "the first run did not wait for the slow target"
        assert second.returncode == 4, second.stdout + second.stderr
        assert f"another run is writing to {here.state} (process {first.pid})" in second.stderr
        assert "nothing was started" in second.stderr
    finally:
        first.kill()
        first.wait()
    with lock.open("a", encoding="utf-8") as freed:
        fcntl.flock(freed, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises when a killed run still held it
    assert len(here.rows("select distinct run_id from lake.runs")) == 1
