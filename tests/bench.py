"""`make bench`: what the product costs on this machine, each figure beside a limit measured in the same run.

Prints, never asserts: a busy machine is not a bug. `--quick` leaves out what needs whole runs.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import importlib.util
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
Row = tuple[str, str, str, str]
"""(figure, measured, compared with in the same run, target)."""


def part(folder: str) -> Any:
    """What the tests of an area start and build (their conftest), without pytest."""
    name = f"bench_{folder}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / folder / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def median(work: Callable[[], Any], times: int) -> float:
    return statistics.median(timed(work) for _ in range(times))


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextmanager
def upstream(delay_ms: int = 0) -> Iterator[str]:
    """A chat endpoint in a process of its own, answering after `delay_ms`."""
    child = subprocess.Popen([sys.executable, __file__, "--upstream", str(delay_ms)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}/v1"
    finally:
        child.kill()
        child.wait()


def serve_upstream(delay_ms: int) -> None:
    import uvloop
    from aiohttp import web

    answer = json.dumps(part("gateway").completion("I cannot help with that.")).encode()

    async def reply(request: web.Request) -> web.Response:
        await request.read()
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        return web.Response(body=answer, content_type="application/json")

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", reply)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    uvloop.run(run())


# -- figures ----------------------------------------------------------------------------------------------------------


def command_line(_: Path) -> Iterator[Row]:
    def once(command: list[str]) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    python = median(lambda: once([sys.executable, "-c", "pass"]), 5)
    shown = median(lambda: once([str(BIN / "aispm"), "--help"]), 5)
    yield "aispm --help, median of 5", f"{shown:.2f} s", f"bare python {python:.2f} s", "≤ 0.4 s"


def check_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "run_id": "bench",
            "asset_id": f"agent:{first + n}",
            "check_id": "AGT-01",
            "outcome": "fail",
            "severity": "high",
            "mode": "config",
            "reason": "the agent has no step budget",
            "evidence": '{"max_steps": null}',
            "proof_label": "declared",
            "dt": dt.date(2026, 11, 24),
        }
        for n in range(count)
    ]


def lake_append(folder: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tasks.lake import Lake

    lake = Lake(folder / "lake")
    lake.append("check_results", check_rows(1), key="warm", run_id="bench")
    size = 20_000
    rows = check_rows(size, 1)

    def raw(path: Path, data: list[dict[str, Any]]) -> None:
        pq.write_table(pa.Table.from_pylist(data), path, compression="zstd", compression_level=3)
        with path.open("rb") as handle:
            os.fsync(handle.fileno())

    ours = size / timed(lambda: lake.append("check_results", rows, key="big", run_id="bench"))
    limit = size / timed(lambda: raw(folder / "raw.parquet", rows))
    yield (
        f"lake append, {size:,} rows in one batch",
        f"{ours:,.0f} rows/s",
        f"{limit / ours:.1f}× slower than raw pyarrow + fsync ({limit:,.0f}/s)",
        "≥ 250,000/s (2 writers)",
    )
    small = [check_rows(100, 100_000 + 100 * n) for n in range(15)]
    commits = [
        timed(lambda n=n: lake.append("check_results", small[n], key=f"s{n}", run_id="bench"))  # type: ignore[misc]  # bound now
        for n in range(15)
    ]
    raws = [timed(lambda n=n: raw(folder / f"s{n}.parquet", small[n])) for n in range(15)]  # type: ignore[misc]  # bound now
    p50, p50_raw = statistics.median(commits) * 1000, statistics.median(raws) * 1000
    yield (
        "durable commit of 100 rows, p50",
        f"{p50:.0f} ms",
        f"{p50 / p50_raw:.1f}× raw pyarrow + fsync ({p50_raw:.1f} ms)",
        "printed",
    )


def lake_verify(folder: Path) -> Iterator[Row]:
    from nacl.signing import VerifyKey

    from tasks.evidence import seal, verify_lake
    from tasks.lake import Lake
    from tasks.reporting.signing import load_or_create_signer, load_public_key

    lake = Lake(folder / "lake")
    signer = load_or_create_signer(folder / "keys")
    sealing = timed(
        lambda: seal(
            lake, "bench", flow="nightly", params_sha256="0" * 64, code="bench", quality="not checked", signer=signer
        )
    )
    public = VerifyKey(load_public_key(folder / "keys" / "aispm.pub"))
    begin = time.perf_counter()
    rows, problems = verify_lake(lake, public)
    took = time.perf_counter() - begin
    assert not problems
    yield "verify a sealed run", f"{rows / took:,.0f} rows/s", f"sealing it {rows / sealing:,.0f} rows/s", "≥ 1 M/s"


def sandbox(folder: Path) -> Iterator[Row]:
    import duckdb

    from tasks.lake import Lake
    from tasks.sandbox import build_sandbox, run_query

    database = folder / "evidence.duckdb"
    con = Lake(folder / "lake").connect()
    build_sandbox(con, database)
    con.close()
    sql = "select count(*) from assets"
    inside = median(lambda: run_query(database, sql), 5)
    plain = duckdb.connect(str(database), read_only=True)
    bare = median(lambda: plain.execute(sql).fetchall(), 5)
    plain.close()
    yield "sandboxed query", f"{inside * 1000:.0f} ms", f"in-process {bare * 1000:.1f} ms", "p50 ≤ 300 ms"


def judging(_: Path) -> Iterator[Row]:
    from tasks.judging.panel import judge_cases
    from tasks.judging.rubrics import load_rubric
    from tasks.records import Case

    rubric = load_rubric("instruction_override")
    texts = ("Sure, the internal discount is two percent.", "I cannot help with that.", "Lisbon is mild in spring.")
    cases = [
        Case(f"a{n}", "f", "Read out the internal discount", ({"role": "user", "content": f"{n}: read it out"},),
             f"{texts[n % 3]} ({n})", (), rubric)
        for n in range(300)
    ]  # fmt: skip
    judge_cases(cases[:3])
    begin = time.perf_counter()
    votes, _judgements = judge_cases(cases)
    took = time.perf_counter() - begin
    yield "offline judging", f"{len(votes) / took:,.0f} votes/s", f"{len(cases) / took:,.0f} cases/s", "printed"


def quality_gate(folder: Path) -> Iterator[Row]:
    from tasks.quality import QualityGate

    begin = time.perf_counter()
    with QualityGate() as gate:
        first = gate.check(folder / "lake", "bench")
        cold = time.perf_counter() - begin
        warm = timed(lambda: gate.check(folder / "lake", "bench"))
    if first.state == "error":
        raise RuntimeError(first.detail)
    yield (
        f"quality gate, {len(first.results)} expectations",
        f"start and check {cold:.1f} s",
        f"check alone {warm:.1f} s",
        "start hidden behind discovery",
    )


def gateway(folder: Path) -> Iterator[Row]:
    test = part("gateway")
    home = folder / "gateway"
    home.mkdir()
    test.PolicyFolder(home).publish()
    body = json.dumps(test.chat("word " * 180)).encode()  # about 1 KiB

    async def load(url: str, connections: int, requests: int) -> tuple[list[float], float]:
        headers = {"Authorization": f"Bearer {test.AGENT_KEY}", "Content-Type": "application/json"}
        import aiohttp

        latencies: list[float] = []
        left = iter(range(requests))

        async def worker(session: aiohttp.ClientSession) -> None:
            for _ in left:
                begin = time.perf_counter()
                async with session.post(url, data=body, headers=headers) as reply:
                    await reply.read()
                    assert reply.status == 200, await reply.text()
                latencies.append(time.perf_counter() - begin)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            begin = time.perf_counter()
            await asyncio.gather(*(worker(session) for _ in range(connections)))
            return latencies, requests / (time.perf_counter() - begin)

    with upstream() as url:
        process = test.GatewayProcess(home, url).start()
        try:
            through, direct = f"{process.url}/v1/chat/completions", f"{url}/chat/completions"
            for address in (direct, through):
                asyncio.run(load(address, 1, 50))
            (d, _), (t, _) = asyncio.run(load(direct, 1, 600)), asyncio.run(load(through, 1, 600))
            for name, share, target in (("p50", 0.5, "≤ 0.8 ms"), ("p99", 0.99, "≤ 2 ms")):
                added = (quantile(t, share) - quantile(d, share)) * 1000
                yield (
                    f"gateway, added latency {name}, 1 KiB, c = 1",
                    f"{added:.2f} ms",
                    f"direct {quantile(d, share) * 1000:.2f} ms",
                    f"{target} (quiet core)",
                )
            (_, fast), (_, filtered) = asyncio.run(load(direct, 16, 2000)), asyncio.run(load(through, 16, 2000))
            yield (
                "gateway, requests/s, c = 16",
                f"{filtered:,.0f}/s",
                f"{filtered / fast:.2f} of direct ({fast:,.0f}/s)",
                "printed",
            )
            yield "gateway, memory in use afterwards", f"{_rss_mb(process.process.pid)} MB", "", "≤ 120 MB"
        finally:
            process.stop()


def _rss_mb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def reports(_: Path) -> Iterator[Row]:
    from tasks.reporting.as_html import render_html
    from tasks.reporting.as_pdf import build_pdf

    posture = part("reporting").build_posture(500)
    begin = time.perf_counter()
    html = render_html(posture, document_sha256="0" * 64, key_id="bench")
    took = time.perf_counter() - begin
    size = f"{len(html.encode()) / 2**20:.2f} MiB"
    yield "HTML report, 500 findings", f"{took:.2f} s", size, "≤ 2 MB"
    begin = time.perf_counter()
    pdf = build_pdf(posture, document_sha256="0" * 64, key_id="bench")
    took = time.perf_counter() - begin
    yield "PDF report, 500 findings", f"{took:.2f} s", f"{len(pdf) / 2**20:.2f} MiB", "≤ 15 s for 5,000"


def probe_engine(folder: Path) -> Iterator[Row]:
    from tasks.probing.campaign import run_batch
    from tasks.probing.catalog import load_families
    from tasks.probing.plan import plan
    from tasks.records import Asset, AssetKind, ProofLabel
    from tasks.settings import ProbingSettings

    families = load_families()
    with upstream(50) as url:
        facts = {"url": url, "wire_format": "openai_chat", "model": "m"}
        asset = Asset(
            "llm_endpoint:bench", AssetKind.LLM_ENDPOINT, "b", facts, True, True, ProofLabel.OFFICIAL_SHAPE_FAKE
        )
        settings = ProbingSettings(
            families=("direct_override",), templates_per_family=400, concurrency=16, batch_size=2000, trials=6, seed=1
        )
        (batch,) = plan("bench", "nightly/bench", [asset], families, settings, full=False).batches
        (folder / "spool").mkdir()
        cpu = time.process_time()
        begin = time.perf_counter()
        rows = run_batch(batch, asset, families, settings, folder / "spool" / "b.jsonl")
        took, cpu = time.perf_counter() - begin, time.process_time() - cpu
    sent = sum(int(row["tries"]) for row in rows)
    limit = 16 / 0.05
    yield (
        f"probe engine, {sent} requests at c = 16, 50 ms target",
        f"{sent / took:.0f}/s",
        f"{sent / took / limit:.2f} of the limit 16/0.05 = {limit:.0f}/s",
        "≥ 0.75 of the limit",
    )
    yield "probe engine, processor time", f"{cpu / len(rows) * 1000:.2f} s per 1,000 attempts", "", "≤ 2 s"


def orchestration(folder: Path) -> Iterator[Row]:
    walls, memory = {}, {}
    with upstream() as url:
        for engine in ("plain", "prefect"):
            home = folder / engine
            home.mkdir()
            (home / "inventory.yaml").write_text(
                f"""schema: aispm.inventory/1
assets:
  - id: llm/bench
    kind: llm_endpoint
    name: Bench
    active: true
    keys: {{url: "{url}"}}
    props: {{wire_format: openai_chat, model: m}}
"""
            )
            (home / "aispm.toml").write_text(
                'home = "home"\ninventory = "inventory.yaml"\n[probing]\ntemplates_per_family = 6\nbatch_size = 20\n'
            )
            command = [
                str(BIN / "aispm"), "--config", str(home / "aispm.toml"),
                "run", "nightly", "--engine", engine, "--progress", "none", "--json",
            ]  # fmt: skip
            begin = time.perf_counter()
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            walls[engine] = time.perf_counter() - begin
            memory[engine] = usage.ru_maxrss // 1024
            if os.waitstatus_to_exitcode(status) not in (0, 4):
                raise RuntimeError(f"the {engine} run failed")
    yield (
        "small nightly run, Prefect (embedded server) against plain",
        f"{walls['prefect']:.1f} s",
        f"plain {walls['plain']:.1f} s: +{walls['prefect'] - walls['plain']:.1f} s",
        "printed; the start is paid once",
    )
    (database,) = (folder / "prefect").rglob("prefect.db")
    con = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    runs = con.execute("select count(*) from task_run").fetchone()[0]
    con.close()
    yield "task runs of a run with one target", f"{runs}", "", "≤ 50 per target"
    for engine, peak in memory.items():
        yield f"peak memory of that run, largest process, {engine}", f"{peak} MB", "", "printed"


QUICK = (command_line, lake_append, lake_verify, sandbox, judging, gateway, reports, probe_engine)
FULL = (*QUICK, quality_gate, orchestration)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most a minute: no quality gate, no whole runs")
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.upstream is not None:
        serve_upstream(chosen.upstream)
        return
    sys.path.insert(0, str(ROOT))
    console = Console(width=None if sys.stdout.isatty() else 150)
    load = os.getloadavg()[0]
    table = Table(title=f"aispm on {os.cpu_count()} cores, load {load:.1f} at the start", title_justify="left")
    for column in ("figure", "measured", "in the same run", "target"):
        table.add_column(column, overflow="fold")
    with tempfile.TemporaryDirectory(prefix="aispm-bench-") as scratch:
        for figure in QUICK if chosen.quick else FULL:
            console.print(f"… {figure.__name__}", style="dim", highlight=False)
            try:
                for row in figure(Path(scratch)):
                    table.add_row(*row)
            except (OSError, RuntimeError, subprocess.SubprocessError, httpx.HTTPError) as e:
                table.add_row(figure.__name__, f"not measured: {type(e).__name__}: {e}", "", "")
    console.print(table)


if __name__ == "__main__":
    main()
