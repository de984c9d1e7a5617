"""A home to run flows in, and the ways to call a flow: with a stand-in gate or as the real command line."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
from run_flow import WavesThrough

from flows.engine import PlainEngine
from flows.outcome import Outcome
from flows.posture import posture
from tasks.lake import Lake
from tasks.quality import QualityGate
from tasks.settings import CONTENT_ROOT, load_settings

FOLDER = Path(__file__).parent
BYTECODE = Path(tempfile.mkdtemp(prefix="aispm-bytecode-"))
atexit.register(shutil.rmtree, BYTECODE, ignore_errors=True)
FAMILIES = ("direct_override", "persona_jailbreak", "prefix_injection", "secret_in_context")


@dataclass(frozen=True)
class Home:
    """A folder with `aispm.toml`, an inventory, and what the flow makes of them."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "aispm.toml"

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "home"

    @property
    def lake(self) -> Lake:
        return Lake(self.state / "lake")

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.lake.query(sql, parameters)

    def report(self, run_id: str) -> Path:
        return self.state / "reports" / run_id

    def posture(self, run_id: str) -> dict[str, Any]:
        return dict(json.loads((self.report(run_id) / "posture.json").read_bytes()))

    def set(self, old: str, new: str) -> None:
        """Change a line of the settings."""
        text = self.config.read_text(encoding="utf-8")
        assert old in text
        self.config.write_text(text.replace(old, new), encoding="utf-8")

    def inside(self, flow: str = "nightly", gate: QualityGate | None = None) -> Outcome:
        """The flow in this process: no import to wait for."""
        return posture(flow, load_settings(self.config), PlainEngine(), gate or WavesThrough())

    def run(self, flow: str = "nightly", crash_at: str | None = None) -> subprocess.CompletedProcess[str]:
        """The flow in a child with the stand-in gate; with `crash_at` it dies there."""
        env = {"AISPM_ENV": "test", "AISPM_CRASH_AT": crash_at} if crash_at else {}
        return _child([str(FOLDER / "run_flow.py"), str(self.config), flow], self.folder, env)

    def start(self) -> subprocess.Popen[bytes]:
        """The nightly flow in a child that is not waited for."""
        return subprocess.Popen(
            [sys.executable, str(FOLDER / "run_flow.py"), str(self.config)],
            cwd=self.folder,
            env=child_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def aispm(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The real command line, with the real gate."""
        return self.cli("--config", str(self.config), *arguments, **env)

    def cli(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The same, in this folder but without naming settings."""
        return _child(["-m", "flows", *arguments], self.folder, env)


def child_environment() -> dict[str, str]:
    """Ours, with the checkout importable and compiled code kept: some tests start thirty processes."""
    env = {**os.environ, "PYTHONPATH": str(CONTENT_ROOT)}
    if env.pop("PYTHONDONTWRITEBYTECODE", None) and "PYTHONPYCACHEPREFIX" not in env:
        env["PYTHONPYCACHEPREFIX"] = str(BYTECODE)
    return env


def _child(arguments: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Forked with the imports done, unless it is to import from elsewhere."""
    env = {**child_environment(), **env}
    if env["PYTHONPATH"] == str(CONTENT_ROOT):
        return forked.run(arguments, cwd, env, timeout=240)
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def asset_yaml(name: str, url: str, *, shown: str | None = None, owner: str = "ai@nimbus-bank.example") -> str:
    """One active chat endpoint as an inventory entry."""
    return f"""  - id: llm/{name}
    kind: llm_endpoint
    name: {json.dumps(shown or name)}
    owner: {json.dumps(owner)}
    env: test
    exposure: internal
    risk_tier: limited
    active: true
    keys: {{url: "{url}"}}
    props: {{wire_format: openai_chat, model: small-1}}
"""


def make_home(folder: Path, assets: list[str], families: tuple[str, ...] = FAMILIES, **probing: Any) -> Home:
    """Settings small enough for several batches in a second or two."""
    folder.mkdir(parents=True, exist_ok=True)
    home = Home(folder)
    home.inventory.write_text("schema: aispm.inventory/1\nassets:\n" + "".join(assets), encoding="utf-8")
    values = {"templates_per_family": 2, "concurrency": 2, "batch_size": 3, "seed": 7, "timeout_s": 5.0, **probing}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    home.config.write_text(
        f'home = "home"\ninventory = "inventory.yaml"\n\n[discovery]\ntimeout_s = 10.0\n\n[probing]\n'
        f"families = {json.dumps(list(families))}\n" + "\n".join(lines) + '\n\n[orchestrator]\nengine = "plain"\n',
        encoding="utf-8",
    )
    return home
