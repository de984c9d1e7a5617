"""Run one flow in this process with the plain engine and a stand-in for the quality gate: `run_flow.py CONFIG [FLOW]`.

The real gate imports Great Expectations, 5 to 10 s of CPU; a kill test starts this program thirty times. The gate
itself is tested in `test_quality_gate.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flows.engine import PlainEngine
from flows.posture import posture
from tasks.errors import AispmError
from tasks.quality import QualityGate, QualityResult
from tasks.settings import load_settings


class WavesThrough(QualityGate):
    """Says `passed` without looking, and starts no child."""

    def __init__(self) -> None:
        """No child."""

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def check(self, lake: Path, run_id: str, timeout_s: float = 120) -> QualityResult:
        return QualityResult("passed", ())


if __name__ == "__main__":
    flow = sys.argv[2] if len(sys.argv) > 2 else "nightly"
    try:
        outcome = posture(flow, load_settings(Path(sys.argv[1])), PlainEngine(), WavesThrough())
    except AispmError as e:
        print(e, file=sys.stderr)
        sys.exit(e.exit_code)
    print(outcome.run_id, outcome.state, *outcome.troubles, sep="\n")
    sys.exit(0 if outcome.state == "complete" else 4)
