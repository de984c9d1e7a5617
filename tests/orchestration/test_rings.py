"""The rings hold: `flows > tasks > gateway`, and only the engine's Prefect half imports Prefect."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "4 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("module", ["flows.posture", "flows.engine", "flows.execute", "flows.proof", "flows.cli"])
def test_importing_it_does_not_import_prefect(module: str) -> None:
    """Help, verification, queries and plain runs do not pay the seconds that Prefect takes to load."""
    code = f"import json, sys, {module}; print(json.dumps('prefect' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) is False
