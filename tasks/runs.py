"""A run: what it is called, which one it resumes, and the lock that keeps two from writing at once."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tasks.crash import crash_point
from tasks.errors import IncompleteError, LakeError
from tasks.judging.independence import planned_label
from tasks.lake import Lake
from tasks.records import canonical_json, digest
from tasks.settings import CONTENT_ROOT, Settings

OPEN_STATES = ("started", "resumed")
LAST_REPORT_FILE = "package.json.sig"
GOES_ON_WITHIN = dt.timedelta(hours=12)
"""A later run starts a campaign of its own: a nightly run must not probe only what the night before left over."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a flow. Small and picklable: this is what travels into every step."""

    run_id: str
    """Sortable by time: `20261124T020000Z-7f3a`."""
    flow: str
    settings: Settings
    started_at: dt.datetime
    params_sha256: str
    resumed: bool = False
    continues: str = ""
    """The campaign of an earlier run that this one goes on with."""

    @property
    def campaign_id(self) -> str:
        """Attempts are keyed by it, so a resumed run, or one that goes on with a campaign, knows which are done."""
        return self.continues or f"{self.flow}/{self.run_id}"

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake)

    @property
    def spool(self) -> Path:
        """Replies that are paid for but not yet in the lake; one folder for all runs of a campaign."""
        return self.settings.spool / self.campaign_id.rpartition("/")[2]

    @property
    def report_folder(self) -> Path:
        return self.settings.reports / self.run_id

    @property
    def full(self) -> bool:
        """Whether this run takes the full probe set."""
        return self.flow == "weekly"

    def commit(self, table: str, rows: list[dict[str, Any]], batch: str = "all") -> int:
        """Append rows under a key of this run; how many were committed now (0 when they were there already)."""
        return self.lake.append(table, rows, key=f"{self.run_id}/{table}/{batch}", run_id=self.run_id).rows

    def committed(self, table: str, batch: str = "all") -> bool:
        return self.lake.committed(table, f"{self.run_id}/{table}/{batch}")

    @property
    def sealed(self) -> bool:
        """Whether the run's root is signed; nothing may be added to it any more."""
        sql = "select count(*) as n from lake.evidence where kind = 'root' and run_id = ?"
        return bool(self.lake.query(sql, [self.run_id])[0]["n"])

    @property
    def reported(self) -> bool:
        """Whether the last file of its report is in place."""
        return (self.report_folder / LAST_REPORT_FILE).exists()

    def record(self, state: str, detail: dict[str, Any] | None = None) -> None:
        """Append a state of this run."""
        if self.sealed:
            raise LakeError(f"run {self.run_id} is sealed; nothing can be added to it")
        seen = self.lake.query("select count(*) as n from lake.runs where run_id = ?", [self.run_id])[0]["n"]
        row = {
            "run_id": self.run_id,
            "seq": seen + 1,
            "flow": self.flow,
            "campaign_id": self.campaign_id,
            "state": state,
            "entered_at": dt.datetime.now(dt.UTC),
            "code_version": code_version(),
            "params_sha256": self.params_sha256,
            "demo": self.settings.demo,
            "judges_label": planned_label(self.settings.judging),
            "detail": canonical_json(detail or {}),
        }
        self.commit("runs", [row], batch=str(seen + 1))


@cache  # what runs is what was loaded
def code_version() -> str:
    """A hash over the product's code and content, so that evidence says what produced it, even without git."""
    h = hashlib.sha256()
    for folder in ("flows", "tasks", "gateway", "sql", "probes", "mappings"):
        for file in sorted((CONTENT_ROOT / folder).rglob("*")):
            if file.suffix in (".py", ".sql", ".yaml", ".csv", ".toml", ".md", ".json", ".j2"):
                h.update(file.relative_to(CONTENT_ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return h.hexdigest()[:16]


def unsent(lake: Lake, run_id: str) -> dict[str, int]:
    """Per target, how many attempts of the run's plan are not in the lake; targets with none are left out."""
    kept = lake.query("select detail from lake.evidence where run_id = ? and kind = 'plan'", [run_id])
    planned: Counter[str] = Counter()
    for row in kept:
        for batch in json.loads(row["detail"])["batches"]:
            planned[batch["asset_id"]] += len(batch["attempts"])
    rows = lake.query(
        "select asset_id, count(*) as n from lake.probe_attempts where run_id = ? group by asset_id", [run_id]
    )
    return dict(planned - Counter({row["asset_id"]: row["n"] for row in rows}))


def params_of(settings: Settings) -> str:
    """Changes with what a run is made of, not with what it may cost: a spent budget may be raised."""
    probing = replace(settings.probing, max_requests=1, max_tokens=None, max_usd=None)
    text = settings.inventory.read_text(encoding="utf-8")
    return digest(code_version(), text, repr(replace(settings, probing=probing)))


@contextmanager
def opened_run(flow: str, settings: Settings, *, fresh: bool = False) -> Iterator[Run]:
    """The run to work on, under the home's lock: the unfinished one of this flow if its inputs are unchanged, else new.

    A new run goes on with the campaign of the flow's last run when that is incomplete because attempts were not sent,
    its inputs are the same, and it began within `GOES_ON_WITHIN`. An unfinished run whose inventory, settings, code or
    content changed is marked `abandoned`; its rows stay. `fresh` starts over in any case. Raises IncompleteError when
    another run holds the lock.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with home_lock(settings.home / "run.lock"):
        params, continues = params_of(settings), ""
        now = dt.datetime.now(dt.UTC)
        lake = Lake(settings.lake)
        rows = lake.query(
            """select run_id, state, params_sha256, campaign_id,
                      min(entered_at) over (partition by run_id) as started_at,
                      min(entered_at) over (partition by campaign_id) as campaign_began
               from lake.runs where flow = ? qualify row_number() over (order by run_id desc, seq desc) = 1""",
            [flow],
        )
        if rows and rows[0]["state"] != "abandoned":
            last = rows[0]
            same = last["params_sha256"] == params and not fresh
            campaign = last["campaign_id"]
            old = Run(
                last["run_id"], flow, settings, last["started_at"], last["params_sha256"], resumed=True,
                continues="" if campaign == f"{flow}/{last['run_id']}" else campaign,
            )  # fmt: skip
            if same and not old.reported:
                if not old.sealed:
                    old.record("resumed")
                yield old
                return
            if last["state"] in OPEN_STATES:
                why = "started over" if fresh else "inventory, settings, code or content changed before it resumed"
                old.record("abandoned", {"reason": why})
            elif same and now - last["campaign_began"] < GOES_ON_WITHIN and unsent(lake, old.run_id):
                continues = campaign
        run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        run = Run(run_id, flow, settings, now, params, continues=continues)
        run.record("started")
        crash_point("start:after")
        yield run


@contextmanager
def home_lock(path: Path) -> Iterator[int]:
    """Held by one process at a time, and by children that inherit the descriptor it yields.

    Raises IncompleteError, naming the holder, when another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise IncompleteError(
                f"another run is writing to {path.parent} (process {handle.read().strip() or 'unknown'}); "
                "wait for it to end, or use another AISPM_HOME; nothing was started"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield handle.fileno()
