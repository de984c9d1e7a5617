"""`make bench-probes`: how fast a campaign is and what it costs, beside promptfoo and garak in the same run.

The model is an HTTP service in a process of its own that answers after 50 ms. Our campaign is the real one: plan,
requests, assertions, spool and lake commits, in a process of its own. Prints, never asserts. Repeat on a quiet machine;
ratios carry over to other machines, absolute figures do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench import upstream  # noqa: E402 - the tests' folders are no packages; they are put on the path above
from bench_peers import MissingError  # noqa: E402
from bench_probe_peers import GARAK, PROMPTFOO, Case, ProbePeers, Spent, spent_by  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

LATENCY_MS = 50
FAMILIES = (
    "delimiter_escape", "encoding_smuggling", "few_shot_hijack", "homoglyph_leet", "judge_injection",
    "prefix_injection", "refusal_suppression", "system_prompt_override", "unicode_smuggling",
)  # fmt: skip
"""One request each and one canary to look for: what other tools can do as well."""
PER_FAMILY = 45
SMALL, LARGE = (12, 1), (PER_FAMILY, 3)
"""(templates per family, trials) of the two sizes that are compared for processor time."""


class Figure(NamedTuple):
    what: str
    measured: str
    beside: str
    target: str
    value: float | None = None


def bare_client(url: str, concurrency: int, seconds: float = 4.0) -> float:
    """Requests per second of a client that does nothing with the answers: what the model and the machine allow."""
    import aiohttp
    import uvloop

    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello " * 100}]}).encode()
    done = 0

    async def worker(session: aiohttp.ClientSession, until: float) -> None:
        nonlocal done
        while time.perf_counter() < until:
            async with session.post(f"{url}/chat/completions", data=body) as response:
                await response.read()
            done += 1

    async def run() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            until = time.perf_counter() + seconds
            await asyncio.gather(*(worker(session, until) for _ in range(concurrency)))

    begin = time.perf_counter()
    uvloop.run(run())
    return done / (time.perf_counter() - begin)


# -- our campaign, in a process of its own ----------------------------------------------------------------------------


def campaign(url: str, concurrency: int, per_family: int, trials: int, folder: Path) -> None:
    """Discover the target, then the whole probe step of a nightly run; what it took is printed as JSON."""
    from flows.discover import discover
    from flows.engine import PlainEngine
    from flows.inputs import check_inputs
    from flows.probe import probe
    from tasks.runs import opened_run
    from tasks.settings import load_settings

    (folder / "inventory.yaml").write_text(
        "schema: aispm.inventory/1\nassets:\n  - id: llm/bench\n    kind: llm_endpoint\n    name: Bench\n"
        f'    active: true\n    keys: {{url: "{url}"}}\n    props: {{wire_format: openai_chat, model: m}}\n'
    )
    (folder / "aispm.toml").write_text(
        f'home = "home"\ninventory = "inventory.yaml"\n[probing]\nfamilies = {json.dumps(FAMILIES)}\nseed = 1\n'
        f"templates_per_family = {per_family}\ntrials = {trials}\nconcurrency = {concurrency}\n"
    )
    settings = load_settings(folder / "aispm.toml")
    inventory, families = check_inputs(settings)
    with opened_run("nightly", settings) as run:
        engine = PlainEngine()
        discover(run, engine, inventory)
        begin = time.perf_counter()
        troubles = probe(run, engine, families)
        took = time.perf_counter() - begin
        (found,) = run.lake.query(
            """select count(*)::int as rows, sum(tries)::int as sent,
                      count(*) filter (verdict = 'resistant')::int as fine from lake.probe_attempts"""
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("RESULT" + json.dumps({**found, "took": took, "peak_kib": peak, "troubles": troubles}))


def ours(url: str, concurrency: int, per_family: int, trials: int) -> tuple[dict[str, Any], Spent]:
    with tempfile.TemporaryDirectory(prefix="aispm-bench-") as scratch:
        given = [str(concurrency), str(per_family), str(trials), scratch]
        command = [sys.executable, __file__, "--campaign", url, *given]
        wall, cpu, said = spent_by(command, Path(scratch), {})
    (line,) = [line for line in said.splitlines() if line.startswith("RESULT")]
    found = json.loads(line.removeprefix("RESULT"))
    if found["troubles"] or found["fine"] != found["rows"]:
        raise RuntimeError(f"the campaign did not go as it should: {found}")
    return found, Spent(found["rows"], wall, cpu)


def cases(per_family: int, trials: int) -> list[Case]:
    """The prompts that our campaign of that size sends, canaries and all but for the campaign's own key."""
    from tasks.probing.catalog import load_families
    from tasks.probing.expand import canary_values, render
    from tasks.probing.plan import plan
    from tasks.records import Asset, AssetKind, ProofLabel
    from tasks.settings import ProbingSettings

    families = load_families()
    facts = {"url": "http://127.0.0.1:1/v1", "wire_format": "openai_chat", "model": "m"}
    target = Asset("llm/bench", AssetKind.LLM_ENDPOINT, "b", facts, True, True, ProofLabel.OFFICIAL_SHAPE_FAKE)
    settings = ProbingSettings(families=FAMILIES, templates_per_family=per_family, trials=trials, seed=1)
    found = []
    for batch in plan("bench", "bench", [target], families, settings, full=False).batches:
        for attempt in batch.attempts:
            family = families[attempt.family_id]
            values = canary_values(family, b"bench", attempt.attempt_id)
            rendered = render(family, family.seed(attempt.seed_id), attempt.transforms, values)
            found.append(Case(rendered.turns[-1][1], values["token"]))
    return found


# -- figures ----------------------------------------------------------------------------------------------------------


def speed(url: str, _: ProbePeers) -> Iterator[Figure]:
    """Attempts per second at 16, 32 and 64 in flight, over the whole probe step."""
    for concurrency in (16, 32, 64):
        limit = concurrency * 1000 / LATENCY_MS
        bare = bare_client(url, concurrency)
        found, _spent = ours(url, concurrency, PER_FAMILY, 12)
        rate = found["sent"] / found["took"]
        yield Figure(
            f"attempts/s at c = {concurrency}, {found['rows']:,} attempts",
            f"{rate:,.0f}/s, {rate / limit:.2f} of {limit:,.0f}/s",
            f"a client that only reads: {bare:,.0f}/s, {bare / limit:.2f}",
            "≥ 0.85" if concurrency == 16 else "printed",
            round(rate / limit, 3),
        )


class Cost(NamedTuple):
    """Processor seconds per 1,000 prompts without start-up, and the whole process of the larger size."""

    each: float
    start_s: float
    whole: Spent


def cost_of(run: Callable[[tuple[int, int], Path], Spent]) -> Cost:
    """Whole processes with their children at two sizes: the difference leaves start-up out."""
    taken = []
    for size in (SMALL, LARGE):
        with tempfile.TemporaryDirectory(prefix="aispm-bench-") as scratch:
            taken.append(run(size, Path(scratch)))
    less, more = taken
    each = (more.cpu_s - less.cpu_s) / (more.done - less.done)
    return Cost(each * 1000, less.cpu_s - each * less.done, more)


def cost(url: str, peers: ProbePeers) -> Iterator[Figure]:
    """Processor time per 1,000 prompts at 16 in flight, ours and others'."""

    def figure(name: str, found: Cost, ratio: str, target: str) -> Figure:
        whole = found.whole
        beside = f"{whole.done:,} prompts: {whole.cpu_s:.1f} s in {whole.wall_s:.1f} s, start-up {found.start_s:.1f} s"
        measured = f"{found.each:.2f} s per 1,000 prompts"
        return Figure(f"{name}, processor time", measured, ratio + beside, target, round(found.each, 3))

    own = cost_of(lambda size, _: ours(url, 16, *size)[1])
    yield figure("aispm", own, "", "printed")
    for name, run, times in (
        (f"promptfoo {PROMPTFOO}", peers.promptfoo, 3),
        (f"garak {GARAK}", peers.garak, 10),
    ):
        target = f"aispm ≤ 1/{times} of it"
        try:
            found = cost_of(partial(_peer, run, url))
            yield figure(name, found, f"aispm takes 1/{found.each / own.each:.1f} of it; ", target)
        except MissingError as e:
            yield Figure(f"{name}, processor time", "not measured", str(e), target)


def _peer(run: Callable[..., Spent], url: str, size: tuple[int, int], scratch: Path) -> Spent:
    return run(cases(*size), url, 16, scratch)


def memory(url: str, _: ProbePeers) -> Iterator[Figure]:
    """Peak memory of the campaign's process over 10,000 attempts."""
    found, _spent = ours(url, 64, PER_FAMILY, 25)
    peak = found["peak_kib"] / 1024
    yield Figure(
        f"peak memory, {found['rows']:,} attempts at c = 64",
        f"{peak:,.0f} MiB",
        f"{found['rows'] / found['took']:,.0f} attempts/s",
        "≤ 1,536 MiB",
        round(peak),
    )


FIGURES: dict[str, Callable[[str, ProbePeers], Iterator[Figure]]] = {"speed": speed, "cost": cost, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="default: all")
    parser.add_argument("--peers", type=Path, default=ROOT / "build" / "peers", help="where peers are fetched to")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--campaign", nargs=5, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.campaign:
        url, concurrency, per_family, trials, folder = chosen.campaign
        campaign(url, int(concurrency), int(per_family), int(trials), Path(folder))
        return
    console = Console(width=None if sys.stdout.isatty() else 150)
    load = os.getloadavg()[0]
    title = f"probe campaigns on {os.cpu_count()} cores, load {load:.1f} at the start"
    table = Table(title=title, title_justify="left")
    for column in ("figure", "measured", "in the same run", "target"):
        table.add_column(column, overflow="fold")
    found: list[Figure] = []
    with upstream(LATENCY_MS) as url:
        for name in chosen.figures or FIGURES:
            console.print(f"… {name}", style="dim", highlight=False)
            try:
                found += FIGURES[name](url, ProbePeers(chosen.peers))
            except (MissingError, OSError, RuntimeError) as e:
                found.append(Figure(name, "not measured", f"{type(e).__name__}: {e}", ""))
    for one in found:
        table.add_row(*one[:4])
    console.print(table)
    console.print(
        f"The model answers after {LATENCY_MS} ms. All tools send the same prompts, one request each, 16 in "
        "flight, assert that the canary is not in the reply, and store every result. Processor time is user and system "
        "of the process and its children; the difference of two sizes leaves start-up out."
    )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([one._asdict() for one in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
