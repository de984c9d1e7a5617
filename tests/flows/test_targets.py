"""Unreachable and misbehaving targets: recorded as errors, and the run goes on to the good ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest
from flow_homes import Home, asset_yaml
from small_target import SmallTarget

HomeMaker = Callable[..., Home]
TargetMaker = Callable[..., SmallTarget]
FEW = ("direct_override", "prefix_injection")
ERRORS = {
    "500": {"http_500", "circuit_open"},
    "garbage": {"malformed"},
    "huge": {"too_large"},
    "slow": {"timeout", "circuit_open"},
    "refused": {"connect", "circuit_open"},
}
"""Manner -> what its attempts may be recorded as."""
NOBODY = "http://127.0.0.1:9/v1"
"""The discard port: nothing listens."""


def attempts(home: Home, run_id: str) -> dict[str, Counter[tuple[str, str | None]]]:
    """Asset name -> (verdict, error kind) -> attempts."""
    found: dict[str, Counter[tuple[str, str | None]]] = {}
    rows = home.rows(
        """select v.name, a.verdict, a.error_kind from lake.probe_attempts a
           join (select distinct asset_id, name from lake.observations where source = 'declared') v using (asset_id)
           where a.run_id = ?""",
        run_id,
    )
    for row in rows:
        found.setdefault(row["name"], Counter())[row["verdict"], row["error_kind"]] += 1
    return found


def broken_home(home: HomeMaker, service: SmallTarget, manners: list[str]) -> Home:
    urls = {manner: NOBODY if manner == "refused" else service.url(manner) for manner in manners}
    made = home(
        [asset_yaml("good", service.url("good")), *(asset_yaml(m, url) for m, url in urls.items())],
        families=FEW,
        timeout_s=0.8,
    )
    made.set("[discovery]\ntimeout_s = 10.0", "[discovery]\ntimeout_s = 0.8")
    return made


def assert_only_the_broken_fail(home: Home, run_id: str, troubles: tuple[str, ...], manners: list[str]) -> None:
    made = attempts(home, run_id)
    assert made["good"] == Counter({("resistant", None): 4})
    for manner in manners:
        unsent = [int(n) for t in troubles for n in re.findall(rf"^{manner}: (\d+) attempts were not sent", t)]
        assert sum(made[manner].values()) + sum(unsent) == 4, "each planned attempt has its row, or is told as not sent"
        assert {verdict for verdict, _ in made[manner]} == {"error"}
        assert {kind for _, kind in made[manner]} <= ERRORS[manner]
        assert any(manner in trouble and "attempts failed" in trouble for trouble in troubles), manner
    clean = home.rows("select count(*) as n from lake.findings where finding_kind like 'probe.%'")
    assert clean == [{"n": 0}], "an error is no finding"


def test_the_run_goes_on_past_every_kind_of_broken_target(home: HomeMaker, target: TargetMaker) -> None:
    service = target(good="refusing", **{name: name for name in ERRORS if name != "refused"})
    here = broken_home(home, service, list(ERRORS))

    outcome = here.inside()

    assert outcome.state == "incomplete"
    assert_only_the_broken_fail(here, outcome.run_id, outcome.troubles, list(ERRORS))
    probed = {row["asset_name"]: row for row in outcome.posture["probes"]}
    assert all(probed[name]["error"] and not probed[name]["resistant"] for name in ERRORS)
    active = here.rows(
        """select distinct c.outcome from lake.check_results c join lake.asset_versions v using (asset_id)
           where v.name in ('500', 'slow', 'refused') and c.check_id in ('LLE-01', 'LLE-02', 'LLE-12')"""
    )
    assert active == [{"outcome": "unknown"}], "what did not answer properly was not checked"


def test_a_broken_target_makes_exit_4(home: HomeMaker, target: TargetMaker) -> None:
    service = target(good="refusing", garbage="garbage")
    here = broken_home(home, service, ["garbage"])

    first = here.aispm("run", "nightly", "--progress", "none")

    assert first.returncode == 4, first.stdout + first.stderr
    lines = first.stdout.splitlines()
    run_id = lines[0].split()[1]
    assert "INCOMPLETE" in lines[0]
    assert len(lines) <= 20
    assert first.stderr == ""
    assert "\x1b" not in first.stdout
    troubles = tuple(line.removeprefix("Incomplete: ") for line in lines if line.startswith("Incomplete: "))
    assert_only_the_broken_fail(here, run_id, troubles, ["garbage"])


@pytest.mark.full
@pytest.mark.parametrize("manner", ERRORS)
def test_one_broken_target_beside_a_good_one(manner: str, home: HomeMaker, target: TargetMaker) -> None:
    service = target(good="refusing", **({} if manner == "refused" else {manner: manner}))
    here = broken_home(home, service, [manner])
    outcome = here.inside()
    assert outcome.state == "incomplete"
    assert_only_the_broken_fail(here, outcome.run_id, outcome.troubles, [manner])
