"""The posture flows as Prefect deploys them; `prefect.yaml` names these entry points. Same code as `aispm run`."""

from __future__ import annotations

import threading

from prefect import flow, get_run_logger

from flows.engine import PrefectEngine
from flows.follow import follow
from flows.outcome import Outcome
from flows.posture import posture
from flows.progress import PlainProgress
from tasks.errors import IncompleteError
from tasks.quality import QualityGate
from tasks.settings import load_settings


@flow(name="nightly", log_prints=False, persist_result=False)
def nightly() -> str:
    """Discover, check, probe the nightly set, judge, map, publish, report; the run id.

    Settings are read from `aispm.toml` in the working directory (or `AISPM_CONFIG`): never from parameters, so that
    nothing secret can reach the orchestrator.
    """
    return _deployed("nightly")


@flow(name="weekly", log_prints=False, persist_result=False)
def weekly() -> str:
    """As nightly, with the full probe set and the compliance snapshot; the run id."""
    return _deployed("weekly")


@flow(name="gateway-ingest", log_prints=False, persist_result=False)
def gateway_ingest() -> int:
    """Follow a gateway's log until cancelled; how many events were added. Nothing to do without a spool."""
    settings = load_settings()
    if settings.gateway.spool is None:
        return 0
    return follow(settings, threading.Event(), get_run_logger().warning)


def _deployed(name: str) -> str:
    with QualityGate() as gate:
        outcome: Outcome = posture(name, load_settings(), PrefectEngine(PlainProgress()), gate)
    if outcome.state != "complete":
        raise IncompleteError(f"run {outcome.run_id} is incomplete: " + "; ".join(outcome.troubles))
    return outcome.run_id
