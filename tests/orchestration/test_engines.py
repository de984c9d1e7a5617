"""The same steps, plain and under Prefect: same rows, few task runs, retries where they help, no telemetry."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.engine import MAX_WORKERS, PlainEngine, PrefectEngine
from flows.posture import posture
from tasks.errors import ConfigError
from tasks.lake import Lake, tables
from tasks.probing.catalog import load_families
from tasks.probing.plan import plan
from tasks.quality import QualityGate
from tasks.records import Asset, AssetKind, ProofLabel
from tasks.settings import ProbingSettings, load_settings

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(480)]

PER_RUN = {
    # Names of a run, and what is derived from them (canaries, hashes, signatures, texts with a canary).
    "run_id", "campaign_id", "attempt_id", "observation_id", "review_id",
    "batch_key", "row_sha256", "sha256", "detail",
    "request_sha256", "response_sha256", "excerpt", "tool_trace", "transforms", "evidence_ref",
    "rationale_redacted", "params_sha256", "prompt_sha256", "latency_us", "signature", "key_id",
}  # fmt: skip
DRAWN_BY_ID = {"judge_votes": "where purpose = 'case'", "reviews": "where reason <> 'audit'"}
"""Left out: gold rows are drawn by the run's id, automatic verdicts for a person to audit by the attempt's."""
MAX_TASK_RUNS = 50
"""Of one target."""


@pytest.fixture
def api(prefect_server: Any) -> Iterator[Any]:
    """A synchronous client; flows of this process talk to the same server while it is in use."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    ours = {
        PREFECT_API_URL: prefect_server.url,
        PREFECT_HOME: prefect_server.home,
        PREFECT_LOGGING_TO_API_ENABLED: False,  # what is logged late would look for a server that has gone
    }
    with (
        temporary_settings(ours),
        get_client(sync_client=True) as client,
    ):
        yield client


def under_prefect(body: Callable[[], Any], name: str) -> Any:
    """Run `body` as a flow."""
    from prefect import flow

    return flow(name=name, persist_result=False)(body)()


def task_runs(api: Any, flow_name: str) -> list[Any]:
    """All task runs of the flow of that name, as the server recorded them."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    return list(api.read_task_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])), limit=200))


def rows(lake: Lake) -> dict[str, Counter[tuple[str, ...]]]:
    """Every table's rows without what names the run or its times."""
    found = {}
    for name, spec in tables().items():
        columns = [f.name for f in spec.schema if f.name not in PER_RUN and not pa.types.is_temporal(f.type)]
        listed = ", ".join(f'"{column}"' for column in columns)
        every = lake.query(f"select {listed} from lake.{name} {DRAWN_BY_ID.get(name, '')}")  # noqa: S608 - names of our own schema
        found[name] = Counter(tuple(map(str, row.values())) for row in every)
    return found


def test_both_engines_give_the_same_rows(
    api: Any, estate: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = _record_connections(monkeypatch)
    plain, prefect = load_settings(estate("plain")), load_settings(estate("prefect"))
    with QualityGate() as gate:
        first = posture("nightly", plain, PlainEngine(), gate)
        second = under_prefect(lambda: posture("nightly", prefect, PrefectEngine(), gate), "engines agree")
    assert (first.state, first.troubles) == (second.state, second.troubles) == ("complete", ())

    one, other = rows(Lake(plain.lake)), rows(Lake(prefect.lake))
    assert {t: (one[t] - other[t], other[t] - one[t]) for t in one if one[t] != other[t]} == {}
    for table in ("check_results", "probe_attempts", "verdicts", "judge_votes", "findings", "finding_controls"):
        assert one[table], f"{table} is empty: this run proves nothing about it"

    batches = -(-sum(one["probe_attempts"].values()) // plain.probing.batch_size)
    runs = task_runs(api, "engines agree")
    names = Counter(run.name.rsplit("-", 1)[0] for run in runs)
    assert names["probe batch"] == batches > 1
    assert len(runs) <= MAX_TASK_RUNS
    shown = {artifact.key: artifact for artifact in api.read_artifacts() if artifact.flow_run_id == runs[0].flow_run_id}
    steps = ("discover", "assess", "probe", "judge", "map", "quality", "seal", "publish", "report")
    assert [shown[f"progress-{step}"].data for step in steps] == [100.0] * len(steps)
    assert second.run_id in str(shown["posture"].data)
    assert reached <= {"127.0.0.1", "::1", "localhost"}, "something tried to leave this machine"
    assert reached, "the recorder saw nothing at all"


def test_a_full_campaign_stays_within_the_task_runs_of_one_target() -> None:
    """The weekly plan of one endpoint that offers everything a chat endpoint can."""
    asset = Asset(
        "llm_endpoint:x",
        AssetKind.LLM_ENDPOINT,
        "x",
        {"url": "http://127.0.0.1:9/v1", "wire_format": "openai_chat", "model": "m"},
        True,
        True,
        ProofLabel.OFFICIAL_SHAPE_FAKE,
    )
    families = load_families()
    weekly = plan("r", "weekly/r", [asset], families, ProbingSettings(), full=True)
    assert len(weekly.batches) <= MAX_TASK_RUNS - 15, "fifteen are left for the steps that every run has"
    assert sum(len(batch.attempts) for batch in weekly.batches) > len(families)


def test_bad_input_is_not_tried_again_but_other_failures_are(api: Any) -> None:
    calls: Counter[str] = Counter()

    def refused() -> None:
        calls["refused"] += 1
        raise ConfigError("the inventory is wrong")

    def flaky() -> str:
        calls["flaky"] += 1
        if calls["flaky"] == 1:
            raise OSError("the disk was busy")
        return "done"

    def body() -> str:
        with pytest.raises(ConfigError, match="the inventory is wrong"):
            PrefectEngine().run(refused)
        return str(PrefectEngine().run(flaky))

    assert under_prefect(body, "retries") == "done"
    assert calls == {"refused": 1, "flaky": 2}


@pytest.mark.parametrize("engine_type", [PlainEngine, PrefectEngine])
def test_a_failed_batch_leaves_the_others_alone(api: Any, engine_type: type) -> None:
    """`map` hands the exception over in place of the result."""

    def half(number: int) -> int:
        if number == 2:
            raise ConfigError("two is not allowed")
        return number * 10

    def body() -> dict[int, Any]:
        return {
            batch["number"]: outcome for batch, outcome in engine_type().map(half, [{"number": n} for n in range(4)])
        }

    outcomes = body() if engine_type is PlainEngine else under_prefect(body, "one bad batch")
    assert isinstance(outcomes.pop(2), ConfigError)
    assert outcomes == {0: 0, 1: 10, 3: 30}


@pytest.mark.parametrize("engine_type", [PlainEngine, PrefectEngine])
def test_no_more_batches_at_once_than_workers(api: Any, engine_type: type) -> None:
    """A hundred batches must not become a hundred threads with their own connections each."""
    import threading
    import time

    at_once, most, lock = 0, 0, threading.Lock()

    def slow(number: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.3)
        with lock:
            at_once -= 1

    def body() -> None:
        list(engine_type().map(slow, [{"number": n} for n in range(3 * MAX_WORKERS)]))

    if engine_type is PlainEngine:
        body()
    else:
        under_prefect(body, "many batches")
    assert 1 < most <= MAX_WORKERS


def _record_connections(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The hosts that this process looks up or connects to from now on."""
    reached: set[str] = set()
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def recording_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            reached.add(str(address[0]))
        connect(self, address)

    def recording_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        reached.add(host.decode() if isinstance(host, bytes) else str(host))
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", recording_connect)
    monkeypatch.setattr(socket, "getaddrinfo", recording_look_up)
    return reached


def test_an_orchestrator_that_takes_no_artifact_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress and summaries are for show; the terminal still gets its part."""
    seen: list[tuple[str, int, int]] = []

    class Terminal:
        def update(self, step: str, done: int, total: int, note: str = "") -> None:
            seen.append((step, done, total))

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("the API is down")

    for name in ("create_progress_artifact", "update_progress_artifact", "create_markdown_artifact"):
        monkeypatch.setattr(f"prefect.artifacts.{name}", refuse)
    engine = PrefectEngine(Terminal())
    engine.progress.update("probe", 0, 2, "a name")
    engine.publish("posture", "# text")
    assert seen == [("probe", 0, 2)]
