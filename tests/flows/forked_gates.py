"""Run in the process that the tests' flows are forked from: the gates of these flows are forked too.

Great Expectations takes 6 s of CPU to import, and each run starts a gate. The one that is forked is the real one, with
its imports done; tests/flows/test_quality_gate.py starts whole ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked import Forked, ForkServer

from tasks import quality

GATES = ForkServer("great_expectations", "great_expectations.expectations", "tasks.quality")
os.environ |= {"GX_ANALYTICS_ENABLED": "false", "TQDM_DISABLE": "1", "OPENBLAS_NUM_THREADS": "1"}
GATES.open()


class _Subprocess:
    """The module `subprocess` as `tasks.quality` sees it."""

    PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL

    @staticmethod
    def Popen(  # noqa: N802 - the name it is called by
        command: list[str], *, env: dict[str, str], cwd: Path, **_: Any
    ) -> Forked:
        asked, answered = os.pipe(), os.pipe()
        with Path(os.devnull).open("wb") as nowhere:
            child = GATES.start(command[command.index("-m") :], cwd, env, answered[1], nowhere.fileno(), asked[0])
        os.close(asked[0])
        os.close(answered[1])
        child.stdin, child.stdout = os.fdopen(asked[1], "w"), os.fdopen(answered[0])
        return child


quality.subprocess = _Subprocess  # type: ignore[assignment]  # a stand-in for the module
