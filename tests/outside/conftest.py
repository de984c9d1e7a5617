"""Software of others, installed into environments of its own; nothing of it enters this project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def agentdojo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has AgentDojo (Debenedetti et al. 2024)."""
    folder = tmp_path_factory.mktemp("agentdojo") / "venv"
    env = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, env=env)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", "agentdojo==0.1.35"],
        capture_output=True,
        text=True,
        timeout=600,
        env=env,
    )
    if done.returncode != 0:
        pytest.skip(f"agentdojo could not be installed: {done.stderr.strip().splitlines()[-1:]}")
    return python
