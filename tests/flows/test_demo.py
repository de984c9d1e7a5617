"""`aispm demo`: the live estate to a signed report, and what a second run of it shows."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flow_homes import child_environment

from tasks.records import AssetKind


@dataclass(frozen=True)
class Demo:
    folder: Path

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.aispm("--home", str(self.folder), "demo", "--progress", "plain", "--json", *arguments)

    def aispm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows", *arguments],
            cwd=self.folder.parent,
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def configured(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.aispm("--config", str(self.folder / "aispm.toml"), *arguments)

    def posture(self, outcome: dict[str, Any]) -> dict[str, Any]:
        report = self.folder.parent / outcome["report"]
        return dict(json.loads((report / "posture.json").read_bytes()))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Demo, dict[str, Any]]:
    """A demo after its first run, and what the run said."""
    here = Demo(tmp_path_factory.mktemp("demo") / "home")
    done = here.start()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "leaked" not in done.stderr, "the database tells when it is not closed"
    return here, json.loads(done.stdout)


@pytest.mark.xdist_group("demo")
@pytest.mark.timeout(700)
def test_the_demo_takes_the_estate_to_a_signed_report(demo: tuple[Demo, dict[str, Any]]) -> None:
    """Every kind of asset, findings in every framework, and each decision of the gateway; nothing is left running."""
    here, outcome = demo
    assert outcome["state"] == "complete", outcome["troubles"]
    posture = here.posture(outcome)
    assert posture["run"]["demo"] is True
    assert posture["labels"]["judges"] == "offline judges"
    assert {asset["kind"] for asset in posture["assets"]} == set(AssetKind)
    failing = {row["framework"] for row in posture["controls"] if row["state"] == "tested_failing"}
    assert failing == {row["framework"] for row in posture["controls"]}
    assert all(posture["gateway"][decision] > 0 for decision in ("allow", "redact", "flag", "block"))
    assert len({row["family_id"] for row in posture["probes"]}) >= 12
    assert posture["quality"]["state"] == "passed"
    stopped = json.loads(here.configured("sql", "--cookbook", "blocked_vs_confirmed", "--json").stdout)["rows"]
    assert [row["asset_name"] for row in stopped if row["stopped"]] == ["Support assistant behind the gateway"]
    verified = here.configured("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert not [line for line in _command_lines() if str(here.folder) in line]


@pytest.mark.xdist_group("demo")
def test_a_demo_is_refused_while_another_one_runs_in_its_folder(tmp_path: Path) -> None:
    """Two would take each other's ports and inventory: the second says who is there and starts nothing."""
    here = Demo(tmp_path / "home")
    here.folder.mkdir()
    with (here.folder / "demo.lock").open("w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(str(os.getpid()))
        held.flush()
        refused = here.start()
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert f"process {os.getpid()}" in refused.stderr
    assert [file.name for file in here.folder.iterdir()] == ["demo.lock"]


@pytest.mark.full
@pytest.mark.xdist_group("demo")
@pytest.mark.timeout(2000)
def test_a_second_demo_shows_a_trend_and_a_hardened_one_a_mended_bank(demo: tuple[Demo, dict[str, Any]]) -> None:
    """Asset ids stay, the trend grows, and with every weakness mended no attack succeeds any more."""
    here, outcome = demo
    first = here.posture(outcome)
    second = here.posture(json.loads(here.start().stdout))
    assert {asset["asset_id"] for asset in second["assets"]} == {asset["asset_id"] for asset in first["assets"]}
    assert [point["run_id"] for point in second["trend"]] == [first["run"]["run_id"], second["run"]["run_id"]]
    assert second["summary"]["assets_new"] == 0
    hardened = here.posture(json.loads(here.start("--hardened").stdout))
    assert sum(row["vulnerable"] for row in hardened["probes"]) == 0
    assert hardened["summary"]["delta"]["high"] < 0


def _command_lines() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found
