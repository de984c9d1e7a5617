"""Closed log segments of a gateway → gateway_events, each segment once and in order."""

from __future__ import annotations

from pathlib import Path

from flows.engine import Engine
from tasks.gateway_logs import closed_segments, event_rows, segment_identity
from tasks.runs import Run


def ingest_gateway(run: Run, engine: Engine) -> list[str]:
    """Nothing to do without a gateway spool in the settings. Returns what went wrong."""
    if run.settings.gateway.spool is None:
        return []
    segments = closed_segments(Path(run.settings.gateway.spool))
    engine.progress.update("gateway", 0, len(segments))
    troubles = []
    events = 0
    for done, segment in enumerate(segments, 1):
        try:
            events += engine.run(ingest_segment, run=run, segment=segment)
        except Exception as e:  # noqa: BLE001 - a bad segment is reported by name; the later ones of its stream must wait
            troubles.append(f"gateway segment {segment.name}: {e}")
            break
        engine.progress.update("gateway", done, len(segments), f"{events} new events")
    return troubles


def ingest_segment(run: Run, segment: Path) -> int:
    """Commit one segment under (gateway, worker, segment number); a replay adds nothing."""
    gateway_id, worker, number = segment_identity(segment)
    key = f"gw/{gateway_id}/{worker}"
    if run.lake.committed("gateway_events", key, number):
        return 0
    rows = [{**row, "run_id": run.run_id} for row in event_rows(segment)]
    return run.lake.append("gateway_events", rows, key=key, run_id=run.run_id, number=number).rows
