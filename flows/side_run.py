"""A run beside the posture runs: a person's decision, or judges asked again, with rows and a signed root of its own.

Sealed runs are never added to, so what changes a verdict later is another run that points back.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from flows.publish import publish_database
from tasks.evidence import seal
from tasks.lake import Lake
from tasks.records import digest
from tasks.reporting.signing import load_or_create_signer
from tasks.runs import Run, code_version, home_lock
from tasks.settings import Settings

REVIEW, JUDGING = "review", "judging"
"""Flows of side runs; `int_asof` leaves them out."""


@contextmanager
def side_run(flow: str, settings: Settings) -> Iterator[Run]:
    """A run under the home's lock, sealed and published at its end; one that fails is sealed as `failed`.

    Side runs that were killed are sealed first. Raises IncompleteError when another run holds the lock.
    """
    with home_lock(settings.home / "run.lock"):
        _seal_killed(settings)
        now = dt.datetime.now(dt.UTC)
        run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        run = Run(run_id, flow, settings, now, digest(code_version(), flow))
        run.record("started")
        try:
            yield run
        except BaseException:
            _finish(run, "failed")
            raise
        _finish(run, "complete")
        publish_database(run)


def _finish(run: Run, state: str) -> None:
    run.record(state)
    seal(
        run.lake,
        run.run_id,
        flow=run.flow,
        params_sha256=run.params_sha256,
        code=code_version(),
        quality="not checked",
        signer=load_or_create_signer(run.settings.keys),
    )


def _seal_killed(settings: Settings) -> None:
    rows = Lake(settings.lake).query(
        """select run_id, flow, min(entered_at) as started_at, any_value(params_sha256) as params_sha256 from lake.runs
           where flow in ('review', 'judging') and run_id not in (select run_id from lake.evidence where kind = 'root')
           group by run_id, flow order by run_id"""
    )
    for row in rows:
        _finish(Run(row["run_id"], row["flow"], settings, row["started_at"], row["params_sha256"]), "abandoned")
