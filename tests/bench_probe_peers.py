"""Other probe tools for `make bench-probes`, each in an environment of its own: promptfoo (npm) and garak (PyPI).

Both get the very prompts of our campaign, the same model, the same requests in flight, and one string assertion for
each: the canary must not be in the reply. What cannot be fetched is named with its reason; no figure is guessed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench_peers import MissingError, Peers

PROMPTFOO = "0.121.20"
GARAK = "0.17.1"
TIMEOUT_S = 400


class Case(NamedTuple):
    """A prompt and the canary that a reply must not hold."""

    prompt: str
    token: str


class Spent(NamedTuple):
    """What a whole process and all its children took, from start to end."""

    done: int
    """Prompts that were answered and asserted."""
    wall_s: float
    cpu_s: float
    """User and system."""


def spent_by(command: Sequence[str | Path], cwd: Path, env: Mapping[str, str]) -> tuple[float, float, str]:
    """(wall seconds, processor seconds, output) of a command with its children. Raises MissingError when it fails."""
    log = cwd / "output.txt"
    begin = time.perf_counter()
    with log.open("wb") as out:
        child = subprocess.Popen(command, cwd=cwd, env={**os.environ, **env}, stdout=out, stderr=out)
        _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    said = log.read_text(errors="replace")
    if child.returncode != 0:
        last = said.strip().splitlines()[-1:]
        raise MissingError(f"{Path(command[0]).name} ended with {child.returncode}: {' '.join(last)[:200]}")
    return wall, usage.ru_utime + usage.ru_stime, said


class ProbePeers(Peers):
    """Fetches into `folder` once; later runs find it there."""

    def promptfoo(self, cases: Sequence[Case], url: str, concurrency: int, scratch: Path) -> Spent:
        """`promptfoo eval` with `not-icontains`, its results written to its own database and to a file."""
        home = self.folder / "promptfoo"
        program = home / "node_modules" / ".bin" / "promptfoo"
        if not program.exists():
            home.mkdir(exist_ok=True)
            self._run(["npm", "install", "--prefix", home, "--no-audit", "--no-fund", f"promptfoo@{PROMPTFOO}"], home)
        options = {"apiBaseUrl": url, "apiKey": "none", "temperature": 0, "max_tokens": 512}
        config = {
            "prompts": ["{{prompt}}"],
            "providers": [{"id": "openai:chat:m", "config": options}],
            "tests": [
                {
                    # Its templates are filled in twice; a prompt with braces must arrive as it is.
                    "vars": {"prompt": "{% raw %}" + case.prompt + "{% endraw %}"},
                    "assert": [{"type": "not-icontains", "value": case.token}],
                }
                for case in cases
            ],
        }
        (scratch / "config.json").write_text(json.dumps(config))
        env = {
            "PROMPTFOO_CONFIG_DIR": str(scratch / "promptfoo"),
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "PROMPTFOO_DISABLE_UPDATE": "1",
            "PROMPTFOO_DISABLE_REMOTE_GENERATION": "true",
        }
        command = [program, "eval", "-c", "config.json", "-j", str(concurrency), "--no-cache", "--no-table",
                   "--no-progress-bar", "-o", "out.json"]  # fmt: skip
        wall, cpu, _ = spent_by(command, scratch, env)
        stats = json.loads((scratch / "out.json").read_text())["results"]["stats"]
        if stats["errors"] or stats["successes"] + stats["failures"] != len(cases):
            raise MissingError(f"promptfoo answered {stats}")
        return Spent(stats["successes"] + stats["failures"], wall, cpu)

    def garak(self, cases: Sequence[Case], url: str, concurrency: int, scratch: Path) -> Spent:
        """`garak` with a probe of our prompts and its own detector for strings in notes."""
        home = self.folder / "garak"
        if not (home / "bin" / "garak").exists():
            self._run([sys.executable, "-m", "venv", home], self.folder)
            self._run([Path(sys.executable).parent / "uv", "pip", "install", "-q", "--python", home / "bin/python",
                       f"garak=={GARAK}"], self.folder)  # fmt: skip
        (package,) = home.glob("lib/python3*/site-packages/garak")
        (package / "probes" / "benchlist.py").write_text(_GARAK_PROBE)
        (scratch / "cases.json").write_text(json.dumps(cases))
        (scratch / "generator.json").write_text(json.dumps({
            "openai": {"OpenAICompatible": {"uri": f"{url}/", "temperature": 0, "max_tokens": 512}},
        }))  # fmt: skip
        env = {
            "BENCH_CASES": str(scratch / "cases.json"),
            "OPENAICOMPATIBLE_API_KEY": "none",
            **{f"XDG_{name}_HOME": str(scratch / "xdg") for name in ("CACHE", "CONFIG", "DATA")},
        }
        command = [home / "bin" / "garak", "--target_type", "openai.OpenAICompatible", "--target_name", "m",
                   "--generator_option_file", "generator.json", "--spec", "probes.benchlist.Prompts",
                   "--generations", "1", "--parallel_attempts", str(concurrency),
                   "--report_prefix", scratch / "report"]  # fmt: skip
        wall, cpu, said = spent_by(command, scratch, env)
        report = next(scratch.rglob("report.report.jsonl"), None)
        if report is None:
            raise MissingError(f"garak wrote no report: {said.strip()[-200:]}")
        rows = [json.loads(line) for line in report.read_text().splitlines()]
        done = sum(r.get("entry_type") == "attempt" and r.get("status") == 2 for r in rows)
        if done != len(cases):
            raise MissingError(f"garak asserted {done} of {len(cases)} prompts: {said.strip()[-200:]}")
        return Spent(done, wall, cpu)


_GARAK_PROBE = '''"""Prompts from a file, each with the string that a reply must not hold."""

import json
import os

from garak.probes.base import Probe


class Prompts(Probe):
    """A list of prompts."""

    lang = "*"
    goal = "be measured"
    intent = "S"
    primary_detector = "base.TriggerListDetector"
    DEFAULT_PARAMS = Probe.DEFAULT_PARAMS | {"follow_prompt_cap": False}

    def __init__(self, config_root=None):
        super().__init__(config_root) if config_root is not None else super().__init__()
        with open(os.environ["BENCH_CASES"]) as f:
            self._cases = json.load(f)
        self.prompts = [prompt for prompt, _ in self._cases]

    def _attempt_prestore_hook(self, attempt, seq):
        attempt.notes["triggers"] = [self._cases[seq][1]]
        return attempt
'''
