"""Assets → check_results."""

from __future__ import annotations

import datetime as dt

from flows.engine import Engine
from tasks.assessment import assess as assess_assets
from tasks.assessment import check_rows
from tasks.crash import crash_point
from tasks.current import current_assets, current_edges, histories, tool_versions
from tasks.discovery.inventory import Inventory
from tasks.runs import Run


def assess(run: Run, engine: Engine, inventory: Inventory) -> list[str]:
    """Every implemented check on every asset of its kind."""
    crash_point("assess:before")
    engine.progress.update("assess", 0, 1)
    results = engine.run(check_assets, run=run, inventory=inventory)
    engine.progress.update("assess", 1, 1, f"{results} results")
    crash_point("assess:after")
    return []


def check_assets(run: Run, inventory: Inventory) -> int:
    """Run the checks and commit their results; how many there are."""
    now = dt.datetime.now(dt.UTC)
    assets = current_assets(run.lake)
    edges, tools = current_edges(run.lake, run.run_id), tool_versions(run.lake)
    results = assess_assets(assets, edges, tools, now, inventory=inventory, history=histories(run.lake))
    crash_point("assess:during")
    run.commit("check_results", check_rows(results, run.run_id, now))
    return len(results)
