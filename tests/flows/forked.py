"""Programs of ours in processes of their own, forked from one that has their imports already.

To import a flow takes 1.8 s of CPU, and these tests start more than a hundred processes. What is forked is still a real
process: its own pid, streams, environment and working folder, an exit status, and it can be killed at any moment. What
starting from nothing shows is tested where it matters (`test_help_imports_nothing_heavy`, `Home.start`).
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

IMPORTED = ["flows.cli", "flows.execute", "flows.posture", "flows.proof", "flows.dry_run", "flows.first_use"]
"""None of them starts a thread or opens a database when it is imported."""
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(IMPORTED)


def run(arguments: Sequence[str], cwd: Path, env: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run([sys.executable, *arguments])` gives; `arguments` are a program's path or `-m` and a module.

    Raises TimeoutError when it has not ended in time; it is killed then.
    """
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdout", "stderr")]
        child = _FORKED.Process(target=_become, args=(list(arguments), str(cwd), env, list(map(str, streams))))
        child.start()
        child.join(timeout)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise TimeoutError(f"{arguments} did not end within {timeout:g} s")
        out, err = (stream.read_text(encoding="utf-8") if stream.exists() else "" for stream in streams)
        return subprocess.CompletedProcess(list(arguments), child.exitcode, out, err)


def _become(arguments: list[str], cwd: str, env: dict[str, str], streams: list[str]) -> None:
    """In the child: take over the streams, the folder and the environment, then be the program."""
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        runpy.run_path(arguments[0], run_name="__main__")
