"""What a resumed run may and may not take from its first try."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from flow_homes import Home, asset_yaml, child_environment
from small_target import SmallTarget

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
