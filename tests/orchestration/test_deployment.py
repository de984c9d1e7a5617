"""`prefect.yaml` is accepted by a real server, and a worker takes the nightly deployment to a signed report."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from nacl.signing import VerifyKey

from tasks.evidence import verify_lake
from tasks.lake import Lake
from tasks.reporting.signing import load_public_key, verify_file

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_an_entry_point_is_a_flow_without_parameters(deployment: dict[str, Any]) -> None:
    """It imports, carries the deployment's name, and takes nothing: nothing secret can reach the orchestrator."""
    from prefect import Flow

    path, _, name = deployment["entrypoint"].partition(":")
    entry = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert isinstance(entry, Flow)
    assert entry.name == deployment["name"]
    assert entry.parameters.properties == {}
    assert not entry.persist_result


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_each_schedule_is_a_cron_in_utc(deployment: dict[str, Any]) -> None:
    """UTC has no daylight saving: no slot is repeated or left out."""
    from prefect.client.schemas.schedules import CronSchedule

    assert deployment["schedules"]
    for schedule in deployment["schedules"]:
        assert CronSchedule(**schedule).timezone == "UTC"
        assert ZoneInfo(schedule["timezone"]).key == "UTC"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_a_deployed_run_is_told_not_to_phone_home(deployment: dict[str, Any]) -> None:
    """Whatever the worker's environment says."""
    env = deployment["work_pool"]["job_variables"]["env"]
    assert env == {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def test_a_broken_cron_would_be_noticed() -> None:
    from prefect.client.schemas.schedules import CronSchedule

    with pytest.raises(ValueError, match="cron"):
        CronSchedule(cron="0 25 * * *", timezone="UTC")


@pytest.mark.prefect
@pytest.mark.xdist_group("prefect")
@pytest.mark.timeout(480)
def test_deploy_all_then_a_worker_runs_nightly_to_the_end(
    prefect_server: Any, proxy_trap: Any, estate: Callable[[str], Path]
) -> None:
    """The commands of prefect.yaml's first lines, word for word; settings come by AISPM_CONFIG alone."""
    settings = estate("deployed")
    pool = prefect_server.cli("work-pool", "create", "--type", "process", "aispm")
    assert pool.returncode == 0, pool.stderr
    deployed = prefect_server.cli("--no-prompt", "deploy", "--all")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    for deployment in DEPLOYMENTS:
        assert f"'{deployment['name']}/{deployment['name']}' successfully created" in _joined(deployed.stdout)

    with prefect_server.process("worker", "start", "--pool", "aispm", log="worker.log", AISPM_CONFIG=str(settings)):
        watched = prefect_server.cli("deployment", "run", "nightly/nightly", "--watch", timeout=400)
    log = (prefect_server.home / "worker.log").read_text(encoding="utf-8")
    assert watched.returncode == 0, watched.stdout[-3000:] + log[-3000:]
    assert "finished successfully in 'Completed'" in _joined(watched.stdout)

    lake = Lake(settings.parent / "home" / "lake")
    states = lake.query("select run_id, state from lake.runs order by seq desc limit 1")
    assert [row["state"] for row in states] == ["complete"]
    public = settings.parent / "home" / "keys" / "aispm.pub"
    checked, problems = verify_lake(lake, VerifyKey(load_public_key(public)))
    assert problems == []
    assert checked > 0
    attempts = lake.query("select verdict, count(*) as n from lake.probe_attempts group by verdict")
    assert {row["verdict"] for row in attempts} - {"error", "not_applicable"}
    report = settings.parent / "home" / "reports" / states[0]["run_id"]
    assert verify_file(report / "posture.json", load_public_key(public)).status == "ok"
    assert verify_file(report / "package.json", load_public_key(public)).status == "ok"
    # No telemetry. `prefect work-pool create` has the server look up the public list of worker types, and takes the
    # list it brings along when there is no way out, as here; no setting turns that off.
    assert {request.split()[1] for request in proxy_trap.requests} <= {"raw.githubusercontent.com:443"}


def _joined(printed: str) -> str:
    """What a command printed, without its frames and line breaks."""
    return re.sub(r"[\s│]+", " ", printed)
