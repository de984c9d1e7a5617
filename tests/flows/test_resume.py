"""What a resumed run may and may not take from its first try."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from flow_homes import Home, asset_yaml, child_environment
from run_flow import WavesThrough
from small_target import SmallTarget

from flows.engine import PlainEngine
from flows.posture import posture
from tasks.settings import load_settings, with_limits

HomeMaker = Callable[..., Home]
TargetMaker = Callable[..., SmallTarget]
FEW = ("direct_override", "prefix_injection")


@pytest.mark.full
def test_an_open_weekly_run_is_left_to_its_own_next_call(home: HomeMaker, target: TargetMaker) -> None:
    service = target(one="refusing")
    here = home([asset_yaml("one", service.url("one"))], families=("over_refusal_benign",))
    assert here.run("weekly", crash_at="probe:before").returncode == -signal.SIGKILL
    (weekly,) = (row["run_id"] for row in here.rows("select distinct run_id from lake.runs"))

    nightly = here.inside("nightly")

    assert nightly.state == "complete"
    roots = here.rows("select run_id from lake.evidence where kind = 'root'")
    assert roots == [{"run_id": nightly.run_id}], "a half-done run was sealed: it could never be finished"
    assert here.run("weekly", crash_at="judge:before").returncode == -signal.SIGKILL
    states = [row["state"] for row in here.rows("select state from lake.runs where run_id = ? order by seq", weekly)]
    assert states == ["started", "resumed"]
    attempts = here.rows("select count(*) as n from lake.probe_attempts where run_id = ?", weekly)[0]["n"]
    assert attempts > 2, "the weekly run takes all templates"


def test_a_changed_inventory_gives_the_killed_run_up_and_seals_what_it_left(
    home: HomeMaker, target: TargetMaker
) -> None:
    service = target(one="refusing", two="refusing")
    here = home([asset_yaml("one", service.url("one"))], families=FEW)
    assert here.run(crash_at="judge:before").returncode == -signal.SIGKILL
    (killed,) = (row["run_id"] for row in here.rows("select distinct run_id from lake.runs"))
    with here.inventory.open("a", encoding="utf-8") as handle:
        handle.write(asset_yaml("two", service.url("two")))

    outcome = here.inside()

    assert outcome.state == "complete"
    assert outcome.run_id != killed
    states = [r["state"] for r in here.rows("select state from lake.runs where run_id = ? order by seq", killed)]
    assert states == ["started", "abandoned"]
    assert here.rows("select count(*) as n from lake.probe_attempts where run_id = ?", killed) == [{"n": 4}]
    roots = here.rows("select run_id from lake.evidence where kind = 'root' order by position")
    assert [row["run_id"] for row in roots] == [killed, outcome.run_id]


def test_what_the_first_try_missed_is_reported_not_forgotten_or_slipped_in(
    home: HomeMaker, target: TargetMaker
) -> None:
    service = target(one="refusing", two="obedient")
    here = home([asset_yaml("one", service.url("one")), asset_yaml("two", service.url("two"))], families=FEW)
    key = here.folder / "two.key"
    text = here.inventory.read_text(encoding="utf-8")
    head, _, tail = text.rpartition("model: small-1}")
    here.inventory.write_text(f'{head}model: small-1, credential: "file:{key}"}}{tail}', encoding="utf-8")
    assert here.run(crash_at="map:before").returncode == -signal.SIGKILL  # `two` was not read or probed: no key
    key.write_text("late-key", encoding="utf-8")
    key.chmod(0o600)

    outcome = here.inside()

    assert outcome.state == "incomplete"
    for where in ("openai_compatible llm/two: ", "probing two, batch 0: "):
        assert any(trouble.startswith(where) for trouble in outcome.troubles), (where, outcome.troubles)
    unjudged = here.rows(
        "select count(*) as n from lake.probe_attempts where attempt_id not in (select attempt_id from lake.verdicts)"
    )
    assert unjudged == [{"n": 0}]


def campaigns(here: Home) -> list[tuple[Any, ...]]:
    rows = here.rows("select run_id, any_value(campaign_id) as c, max_by(state, seq) as s from lake.runs group by 1")
    return sorted((row["run_id"], row["c"], row["s"]) for row in rows)


def test_a_later_run_goes_on_with_what_a_dead_target_left_over(home: HomeMaker, target: TargetMaker) -> None:
    """The first run is reported as incomplete; the next sends the rest, and its result covers the whole campaign."""
    service = target(one="refusing", two="obedient")
    here = home(
        [asset_yaml("one", service.url("one")), asset_yaml("two", service.url("two"))],
        families=FEW, templates_per_family=8, concurrency=1, batch_size=5,
    )  # fmt: skip
    count = service._count

    def dying(path: str, raw: bytes) -> None:
        count(path, raw)
        if path.startswith("/two/") and sum(service.probes.values()) > 20:
            service.manners["two"] = "500"

    service._count = dying  # type: ignore[method-assign]
    first = here.inside()
    assert first.state == "incomplete"
    (trouble,) = [t for t in first.troubles if "were not sent" in t]
    assert trouble.startswith("two: ")
    assert "when it is back, the same command goes on with them" in trouble
    answered = here.rows("select attempt_id, verdict from lake.probe_attempts")
    assert 0 < len(answered) < 32
    service._count = count  # type: ignore[method-assign]
    service.manners["two"] = "obedient"

    second = here.inside()

    assert not [t for t in second.troubles if "were not sent" in t]
    assert [c for _, c, _ in campaigns(here)] == [f"nightly/{first.run_id}"] * 2
    found = here.rows("select attempt_id, verdict, run_id from lake.probe_attempts")
    assert len(found) == len({row["attempt_id"] for row in found}) == 32, "each planned attempt once"
    assert {r["attempt_id"] for r in answered} == {r["attempt_id"] for r in found if r["run_id"] == first.run_id}
    covered = {(p["asset_name"], p["attempts"]) for p in here.posture(second.run_id)["probes"]}
    assert covered == {("one", 8), ("two", 8)}, "the second report speaks for all attempts of the campaign"
    vulnerable = [f for f in here.posture(second.run_id)["findings"] if f["state"] == "open"]
    assert vulnerable, "what the first run found is not mended by the second"


def test_what_a_killed_execution_left_unsent_is_told_and_sent_by_the_next_run(
    home: HomeMaker, target: TargetMaker
) -> None:
    """Killed after the batch of a target that had died was committed as far as it went."""
    service = target(two="obedient")
    here = home(
        [asset_yaml("two", service.url("two"))], families=FEW, templates_per_family=8, concurrency=1, batch_size=50
    )
    count = service._count

    def dying(path: str, raw: bytes) -> None:
        count(path, raw)
        if sum(service.probes.values()) > 5:
            service.manners["two"] = "500"

    service._count = dying  # type: ignore[method-assign]  # the service counts by this alone
    assert here.run(crash_at="probe:after").returncode == -signal.SIGKILL
    left = 16 - here.rows("select count(*) as n from lake.probe_attempts")[0]["n"]
    assert left > 0
    service._count = count  # type: ignore[method-assign]  # as above
    service.manners["two"] = "obedient"

    resumed = here.inside()

    assert resumed.state == "incomplete", "attempts that nobody sent are no pass"
    assert [t for t in resumed.troubles if t.startswith(f"two: {left} attempts were not sent: ")]
    rest = here.inside()
    assert [c for _, c, _ in campaigns(here)] == [f"nightly/{resumed.run_id}"] * 2
    assert here.rows("select count(distinct attempt_id) as n from lake.probe_attempts") == [{"n": 16}]
    assert not [t for t in rest.troubles if "were not sent" in t]


@pytest.mark.full
def test_a_spent_budget_may_be_raised_and_the_campaign_goes_on(home: HomeMaker, target: TargetMaker) -> None:
    service = target(one="refusing")
    here = home([asset_yaml("one", service.url("one"))], families=FEW, templates_per_family=6, max_requests=5)
    first = here.inside()
    assert first.state == "incomplete"
    assert [t for t in first.troubles if "the campaign's limit of requests is reached; raise it" in t]
    assert sum(service.probes.values()) == 5
    again = here.inside()
    assert (again.state, sum(service.probes.values())) == ("incomplete", 5), "the limit holds for the campaign"
    here.set("max_requests = 5", "max_requests = 50")
    done = here.inside()
    assert done.state == "complete"
    assert {c for _, c, _ in campaigns(here)} == {f"nightly/{first.run_id}"}
    tries = here.rows("select count(distinct attempt_id)::int as n, sum(tries)::int as t from lake.probe_attempts")
    assert tries == [{"n": 12, "t": sum(service.probes.values())}]
    new = here.inside()
    assert campaigns(here)[-1][:2] == (new.run_id, f"nightly/{new.run_id}"), "nothing left over: a new campaign"


def test_limits_are_options(home: HomeMaker, target: TargetMaker) -> None:
    service = target(one="refusing")
    here = home([asset_yaml("one", service.url("one"))], families=FEW, templates_per_family=4)
    (here.folder / "prices.yaml").write_text(
        "schema: aispm.prices/1\nas_of: 2026-11-01\nmodels:\n  small-1: {input: 3000000, output: 15000000}\n"
    )
    run = ("run", "nightly", "--dry-run")
    refused = here.aispm(*run, "--max-usd", "0.5")
    assert refused.returncode == 2
    assert "the price of `small-1`" in refused.stderr
    here.set("seed = 7", 'seed = 7\nprices = "prices.yaml"')
    assert here.aispm(*run, "--max-usd", "0.5", "--max-tokens", "9000").returncode == 0
    assert here.aispm(*run, "--max-usd", "0").returncode == 2
    assert here.aispm(*run, "--max-requests", "0").returncode == 2
    assert sum(service.probes.values()) == 0


@pytest.mark.full
def test_fresh_starts_over_where_a_run_would_go_on(home: HomeMaker, target: TargetMaker) -> None:
    service = target(one="refusing")
    here = home([asset_yaml("one", service.url("one"))], families=FEW, templates_per_family=4)
    limited = with_limits(load_settings(here.config), {"max_requests": 3, "max_tokens": None})
    posture("nightly", limited, PlainEngine(), WavesThrough())
    assert sum(service.probes.values()) == 3
    fresh = posture("nightly", load_settings(here.config), PlainEngine(), WavesThrough(), fresh=True)
    assert fresh.state == "complete"
    assert campaigns(here)[-1][:2] == (fresh.run_id, f"nightly/{fresh.run_id}")
    assert here.rows("select count(*)::int as n from lake.probe_attempts where run_id = ?", fresh.run_id) == [{"n": 8}]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_an_interrupted_run_keeps_what_was_answered_and_goes_on_with_the_same_command(
    number: signal.Signals, home: HomeMaker, target: TargetMaker
) -> None:
    """Ctrl-C while an attempt is in flight: exit 130 and what to do, then the rest, nothing twice."""
    service = target(one="refusing")
    here = home(
        [asset_yaml("one", service.url("one"))], families=FEW, templates_per_family=6, concurrency=1, batch_size=50
    )
    command = [sys.executable, "-m", "flows", "--config", str(here.config), "run", "nightly", "--progress", "none"]
    first = subprocess.Popen(
        command, cwd=here.folder, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    count = service._count

    def interrupting(path: str, raw: bytes) -> None:
        count(path, raw)
        if sum(service.probes.values()) == 3:
            first.send_signal(number)

    service._count = interrupting  # type: ignore[method-assign]
    _, said = first.communicate(timeout=240)
    assert (first.returncode, said.strip()) == (
        130,
        "aispm: interrupted; run the same command again to go on where it stopped",
    )
    answered = sum(service.probes.values())
    assert 3 <= answered < 10

    done = subprocess.run(
        command, cwd=here.folder, env=child_environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["n"] for row in here.rows("select count(distinct run_id) as n from lake.runs")] == [1]
    tries = here.rows("select sum(tries)::int as n from lake.probe_attempts")
    assert tries == [{"n": sum(service.probes.values())}], "an answered attempt was sent again"
