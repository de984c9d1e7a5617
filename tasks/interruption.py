"""Whether the run was asked to stop. Asked between two attempts, so that what is in flight is finished and kept."""

from __future__ import annotations

import threading

from tasks.errors import AispmError

STOPPING = threading.Event()
"""Set by Ctrl-C or SIGTERM."""


class StoppedError(AispmError):
    """Work was left undone because the run was asked to stop; the same command goes on with it."""

    exit_code = 130
