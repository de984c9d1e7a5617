"""Children that do not outlive us, not even when we are killed."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


def _ask_for_sigterm() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


die_with_parent: Callable[[], None] | None = _ask_for_sigterm if sys.platform == "linux" else None
"""For `subprocess.Popen(preexec_fn=…)`: the child gets SIGTERM when we end, however we end. Linux only."""
