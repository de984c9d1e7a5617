"""Named crash points: `AISPM_CRASH_AT=<step>:<moment>` ends the process there with SIGKILL.

They exist so that tests can prove that a run killed at any step resumes without loss or repetition. They are dead
unless `AISPM_ENV=test`.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "start:after",
    *(
        f"{step}:{moment}"
        for step in ("discover", "assess", "probe", "judge", "map", "quality", "seal", "publish", "report")
        for moment in ("before", "during", "after")
    ),
)
"""All points, in the order in which a run passes them. `during` lies between two commits or files of the step."""


def crash_point(name: str) -> None:
    """Die here if the environment says so."""
    if os.environ.get("AISPM_CRASH_AT") == name and os.environ.get("AISPM_ENV") == "test":
        os.kill(os.getpid(), signal.SIGKILL)
