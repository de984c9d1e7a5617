"""The product's table of contents: what a posture run does, in order."""

from __future__ import annotations

from flows.assess import assess
from flows.discover import discover
from flows.engine import Engine
from flows.export import report
from flows.ingest_gateway import ingest_gateway
from flows.inputs import check_inputs
from flows.judge import judge
from flows.map_controls import map_controls
from flows.outcome import Outcome, conclude
from flows.probe import probe
from flows.publish import publish
from tasks.quality import QualityGate
from tasks.runs import opened_run
from tasks.settings import Settings


def posture(flow: str, settings: Settings, engine: Engine, gate: QualityGate, *, fresh: bool = False) -> Outcome:
    """Take the estate of `settings.inventory` to a signed report. `flow` is `nightly` or `weekly`.

    Bad input (inventory, probes, mappings) raises ConfigError before anything is sent or written. A run that was
    killed is resumed, unless `fresh`: what it had committed stays, and no finished attempt is sent again.
    """
    inventory, families = check_inputs(settings)
    with opened_run(flow, settings, fresh=fresh) as run:
        if not run.sealed:
            troubles = [
                *discover(run, engine, inventory),
                *assess(run, engine, inventory),
                *ingest_gateway(run, engine),
                *probe(run, engine, families),
                *judge(run, engine, families),
                *map_controls(run, engine, families),
            ]
            conclude(run, engine, gate, troubles)
        publish(run, engine)
        return report(run, engine)
