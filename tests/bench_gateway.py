"""`make bench-gateway`: what the gateway costs, on one pinned core, beside other gateways and a bare proxy in one run.

Core 0 runs what is measured, core 1 the load generator and the model endpoint. Prints, never asserts. Repeat on a quiet
machine; ratios carry over to other machines, absolute figures do not.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "gateway")]

import bench_peers as peers_of  # noqa: E402 - the tests' folders are no packages; they are put on the path above
import httpx  # noqa: E402
from aiohttp import web  # noqa: E402
from bench import part, quantile  # noqa: E402
from bench_peers import MissingError, Peers  # noqa: E402
from fleet import Fleet  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from worst_texts import worst_texts  # noqa: E402

MEASURED, OTHER = 0, 1
"""Cores."""
SECONDS = 8
Row = tuple[str, str, str, str]


class Bench:
    """The peers, a scratch folder, and the gateway under test with authentication, filter, budget and log on."""

    def __init__(self, peers: Peers, home: Path) -> None:
        self.peers, self.home = peers, home
        self.test = part("gateway")
        self.body = json.dumps(self.test.chat("Please sum up our meeting of last week for the team. " * 18)).encode()

    def folder(self, name: str) -> Path:
        path = self.home / name
        path.mkdir()
        return path

    def gateway(self, name: str, to: int) -> Any:
        """A running gateway in front of port `to`."""
        folder = self.folder(name)
        month = {"id": "month", "upstream_domain": "*", "agent": "*", "period": "month", "zone": "Europe/Berlin",
                 "limit_micro_usd": 10**15, "action": "block"}  # fmt: skip
        self.test.PolicyFolder(folder).publish(
            budgets=[month],
            rates={"*": 10**9},
            prices={"default_max_tokens": 1024, "unknown_price": "deny", "models": {
                "sim-1": {"input": 150_000, "output": 600_000, "cached": 75_000}}},
        )  # fmt: skip
        process = self.test.GatewayProcess(folder, f"http://127.0.0.1:{to}/v1").start()
        os.sched_setaffinity(process.process.pid, {MEASURED})
        for task in Path(f"/proc/{process.process.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {MEASURED})
        return process

    def load(self, url: str, headers: dict[str, str], connections: int, seconds: int = SECONDS) -> dict[str, float]:
        return peers_of.load(self.peers, OTHER, self.home, url, headers, self.body, connections, seconds)

    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.test.AGENT_KEY}"}


ROUNDS, ROUND_SECONDS = 5, 4
"""Throughputs are measured in turns and compared round by round, for the machine's own speed changes from minute to
minute; printed are medians."""


def throughput(bench: Bench) -> Iterator[Row]:
    """Requests per second at 32 connections, 1 KiB bodies, in turns with the peers; latency at one connection."""
    with ExitStack() as running:
        port = running.enter_context(peers_of.upstream(bench.peers, OTHER, bench.home))
        process = bench.gateway("gateway", port)
        running.callback(process.stop)
        direct, ours = f"http://127.0.0.1:{port}/v1/chat/completions", f"{process.url}/v1/chat/completions"
        asked: dict[str, tuple[str, dict[str, str]]] = {"gateway": (ours, bench.bearer()), "endpoint": (direct, {})}
        pids, missing = {"gateway": process.process.pid}, dict[str, str]()
        try:
            through = running.enter_context(peers_of.proxy_pass(bench.peers, MEASURED, bench.home, port))
            asked["nginx"] = f"http://127.0.0.1:{through}/v1/chat/completions", {}
        except MissingError as e:
            missing["nginx"] = str(e)
        for name, start in (("portkey", peers_of.portkey), ("litellm", peers_of.litellm)):
            try:
                at, pids[name], headers = running.enter_context(start(bench.peers, MEASURED, bench.home, port))
                asked[name] = f"http://127.0.0.1:{at}/v1/chat/completions", headers
            except MissingError as e:
                missing[name] = str(e)
        for url, headers in asked.values():
            try:
                bench.load(url, headers, 32, 3)
            except MissingError:  # the first answers of a slow one may take longer than that
                bench.load(url, headers, 32, 15)

        def turn(name: str, connections: int) -> dict[str, float]:
            """Load on one of them; the others are halted, for some are busy also when nobody asks them anything."""
            for other, pid in pids.items():
                os.kill(pid, signal.SIGCONT if other == name else signal.SIGSTOP)
            try:
                return bench.load(*asked[name], connections, ROUND_SECONDS)
            finally:
                for pid in pids.values():
                    os.kill(pid, signal.SIGCONT)

        rps: dict[str, list[float]] = {name: [] for name in asked}
        latency: dict[str, dict[str, list[float]]] = {who: {"p50": [], "p99": []} for who in ("gateway", "endpoint")}
        for _ in range(ROUNDS):
            for name, found in rps.items():
                found.append(turn(name, 32)["rps"])
            for who, shares in latency.items():
                measured = turn(who, 1)
                for share, values in shares.items():
                    values.append(measured[share] / 1000)
        resident = {name: _rss(pid) for name, pid in pids.items()}

    def of(name: str) -> tuple[float, list[float]]:
        """How many times as fast as `name` the gateway is: the median of all rounds, and all of them in order."""
        times = sorted(a / b for a, b in zip(rps["gateway"], rps[name], strict=True))
        return statistics.median(times), times

    bare = f"{of('endpoint')[0]:.3f} of the endpoint alone"
    yield "the model endpoint alone, c = 32", f"{statistics.median(rps['endpoint']):,.0f}/s", "", "printed"
    yield "gateway, all on, 1 KiB, c = 32", f"{statistics.median(rps['gateway']):,.0f}/s", bare, "printed"
    for share, target in (("p50", "≤ 0.8 ms"), ("p99", "≤ 2 ms")):
        both = zip(latency["gateway"][share], latency["endpoint"][share], strict=True)
        added = sorted(a - b for a, b in both)
        rounds = f"rounds {added[0]:.2f} to {added[-1]:.2f} ms"
        yield f"added latency {share}, c = 1", f"{statistics.median(added):.2f} ms", rounds, target
    yield "gateway, memory after that", f"{resident['gateway']} MB", "", "≤ 150 MB"
    peers = (
        ("nginx", "nginx proxy_pass (sees nothing)", ""),
        ("portkey", f"Portkey gateway {peers_of.PORTKEY}", "≥ 3 ×"),
        ("litellm", f"LiteLLM proxy {peers_of.LITELLM}", "≥ 80 ×"),
    )
    for name, title, target in peers:
        if name in missing:
            yield title, "not measured", missing[name], target
            continue
        times, rounds = of(name)
        shown = f"gateway {times:.3f} of it" if times < 1 else (
            f"gateway {times:.1f} × it (rounds {rounds[0]:.1f} to {rounds[-1]:.1f})"
        )  # fmt: skip
        memory = f", {resident[name]} MB" if name in resident else ""
        yield f"{title}{memory}", f"{statistics.median(rps[name]):,.0f}/s", shown, target


def first_token(bench: Bench) -> Iterator[Row]:
    """Time to the first token of a streamed answer: 40 words, the first after 20 ms, the others 2 ms apart.

    A word is let go when what follows shows that it is no beginning of a value, so one word's pause is in it.
    """
    words = [
        f" {word}" for word in ("The meeting moved to Tuesday and the notes are in the shared folder." * 4).split()
    ]

    async def speak(request: Any, _: Any) -> Any:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for n, word in enumerate(words[:40]):
            await asyncio.sleep(0.002 if n else 0.02)
            await response.write(bench.test.chunk({"content": word}).encode())
        await response.write(bench.test.chunk({}, "stop").encode() + b"data: [DONE]\n\n")
        return response

    body = json.dumps(bench.test.chat("Please sum up our meeting of last week.", stream=True)).encode()

    def asked(url: str, headers: dict[str, str]) -> list[float]:
        """Milliseconds from asking to the first word, 100 times over one connection."""
        waited = []
        with httpx.Client(headers={"Content-Type": "application/json", **headers}) as client:
            for _ in range(110):
                start, first = time.perf_counter(), 0.0
                with client.stream("POST", url, content=body) as response:
                    for line in response.iter_lines():
                        if not first and '"content"' in line:
                            first = time.perf_counter() - start
                waited.append(first * 1000)
        return waited[10:]

    simulator = bench.test.UpstreamSimulator()
    simulator.reply = speak
    process = bench.gateway("first_token", int(simulator.url.split(":")[2].removesuffix("/v1")))
    try:
        direct = asked(f"{simulator.url}/chat/completions", {})
        through = asked(f"{process.url}/v1/chat/completions", bench.bearer())
    finally:
        process.stop()
        simulator.close()
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        with_gateway, without = quantile(through, share), quantile(direct, share)
        yield f"first token later by, {name}", f"{with_gateway - without:.2f} ms", f"direct {without:.1f} ms", "printed"


def _rss(pid: int) -> int:
    """MB of a process and its children."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(status.parent.name) == pid or int(fields[1]) == pid:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total // 2**20


def memory(bench: Bench) -> Iterator[Row]:
    """Resident memory over 200,000 requests."""
    with peers_of.upstream(bench.peers, OTHER, bench.home) as port:
        process = bench.gateway("memory", port)
        try:
            url, sent, marks = f"{process.url}/v1/chat/completions", 0.0, []
            while sent < 200_000:
                sent += bench.load(url, bench.bearer(), 32, 5)["requests"]
                marks.append((sent, _rss(process.process.pid)))
        finally:
            process.stop()
    early = next(mb for n, mb in marks if n >= 20_000)
    yield (
        f"memory after {sent:,.0f} requests",
        f"{marks[-1][1]} MB",
        f"{early} MB after the first 20,000",
        "≤ 150 MB and flat",
    )


# -- the filter alone ------------------------------------------------------------------------------------------------


def false_positives(_: Bench) -> Iterator[Row]:
    """What is found where there is nothing to find: 4,500 pieces of this machine's documentation and code."""
    import false_positives as corpus

    found = corpus.measure(corpus.bodies(4_500))
    most = ", ".join(f"{n} × {name}" for name, n in found.by_pattern.most_common(5) if name != "email")
    per_thousand = 1000 * found.secret / found.bodies
    yield f"false secrets in {found.bodies:,} bodies", f"{per_thousand:.2f} ‰", most, "≤ 1 ‰"
    personal = 100 * found.personal / found.bodies
    mail = f"authors' e-mail addresses in {100 * found.mail / found.bodies:.0f} %"
    yield "false personal data in them", f"{personal:.2f} %", mail, "≤ 2 %"


FLEET, REVOCATIONS = 20, 10
"""Gateway processes under one policy server, and how often their agent's key is revoked and given back."""


def fleet(bench: Bench) -> Iterator[Row]:
    """Seconds from a publication until a gateway refuses the revoked key, over all gateways of a fleet."""
    many = Fleet(bench.folder("fleet"), bench.test, FLEET)
    try:
        many.start()
        for pid in (many.server.pid, *(g.process.pid for g in many.gateways.values())):
            os.sched_setaffinity(pid, range(os.cpu_count() or 1))  # a fleet has more than the one core of this process
        took = []
        for _ in range(REVOCATIONS):
            took += many.revoke().values()
            many.restore()
        stolen = many.replace_policy_key().values()
    finally:
        many.stop()
    took.sort()
    measured = f"p50 {quantile(took, 0.5):.2f}, p99 {quantile(took, 0.99):.2f}, max {took[-1]:.2f} s"
    rounds = f"{FLEET} processes, {REVOCATIONS} times"
    yield "revoked agent key refused everywhere", measured, rounds, "p99 ≤ 5 s, max ≤ 30 s"
    yield "revoked policy key, new root and epoch", f"max {max(stolen):.2f} s", f"{FLEET} processes", "≤ 60 s"


def filter_speed(_: Bench) -> Iterator[Row]:
    """Processor time of parsing, collecting, scanning and judging a body, all decoders on; then of the worst texts.

    Every body is filtered in each of several rounds, and its median counts: on a shared machine the processor itself is
    slower for some of them, which is no property of the filter. The p99 of all runs, which is, stands beside it.
    """
    filtered = _filter()
    p99 = 0.0
    for size, target in ((4 << 10, "≤ 0.40 ms"), (64 << 10, "≤ 1.5 ms")):
        spent = _rounds(filtered, _bodies(size))
        bodies, runs = [statistics.median(s) for s in spent], [ms for s in spent for ms in s]
        p99 = quantile(bodies, 0.99)
        yield f"filter, {size >> 10} KiB, p99 of {len(bodies)} bodies", f"{p99:.2f} ms", (
            f"p50 {quantile(bodies, 0.5):.2f} ms; p99 of all {len(runs):,} runs {quantile(runs, 0.99):.2f} ms"
        ), target  # fmt: skip
    texts = worst_texts()
    spent = _rounds(filtered, [_chat([text]) for text in texts.values()])
    worst = dict(zip(texts, map(statistics.median, spent), strict=True))
    name = max(worst, key=lambda n: worst[n])
    slow = ", ".join(n for n, ms in worst.items() if ms > 5 * p99)
    yield f"filter, worst of {len(worst)} hostile texts of 64 KiB: {name}", f"{worst[name]:.1f} ms", (
        f"{worst[name] / p99:.1f} × the p99 above; more than 5 ×: {slow or 'none'}"
    ), "≤ 5 ×"  # fmt: skip


FILTER_ROUNDS = 11


def _rounds(filtered: Callable[[bytes], str], bodies: Sequence[bytes]) -> list[list[float]]:
    """Milliseconds that each of them takes in each round, one body after the other as they come to a gateway."""
    spent: list[list[float]] = [[] for _ in bodies]
    for _ in range(FILTER_ROUNDS):
        gc.collect()
        filtered(bodies[-1])
        for body, took in zip(bodies, spent, strict=True):
            begin = time.thread_time_ns()
            filtered(body)
            took.append((time.thread_time_ns() - begin) / 1e6)
    return spent


def _filter() -> Callable[[bytes], str]:
    """Parse, collect, scan, judge: what the gateway does with the body of a request."""
    from gateway.fields import REQUEST, Fields
    from gateway.filter import Inspection, RuleSet
    from gateway.pattern_files import load_patterns
    from gateway.policy import bundle
    from gateway.reasons import Refusal
    from gateway.strict_json import parse

    keys, hash_key, now = bundle.new_keypair(), bundle.new_hash_key(), datetime(2026, 1, 1, tzinfo=UTC)
    raw = bundle.compose_bundle(
        tenant="t", audience=["g"], version=1, issued=now, expires=now + timedelta(days=1), hash_key=hash_key, agents=[]
    )
    policy = bundle.verify_bundle(raw, bundle.sign_bundle(raw, keys.private), [keys.public])
    rules = RuleSet.build(policy, load_patterns())

    def filtered(body: bytes) -> str:
        inspection, fields = Inspection(rules, "a"), Fields(REQUEST)
        try:
            fields.members(parse(body), "user")
            inspection.scan(fields)
            inspection.verdict(REQUEST)
        except Refusal as refusal:
            return refusal.code
        return inspection.decision

    return filtered


def _chat(texts: list[str]) -> bytes:
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    return json.dumps({"model": "sim-1", "messages": messages}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _bodies(size: int) -> list[bytes]:
    """Bodies such as agents send: prose and code in turns, tool results as JSON in a string, other languages."""
    rng = random.Random(size)
    code = "".join(p.read_text(errors="replace") for p in sorted(Path(os.__file__).parent.glob("*.py"))[:60])
    documents = (p for p in sorted(ROOT.glob("**/*.md")) if p.relative_to(ROOT).parts[0] not in (".venv", "build"))
    prose = "".join(p.read_text() for p in documents)
    names, other = (
        ("Ann", "Jürgen", "Çelik", "Łukasz"),
        "Größe und Gewicht stehen im Anhang – „siehe dort“. Привет мир. ",
    )
    bodies = []
    for text in (prose, code) * 120:
        at, turns, left = rng.randrange(max(1, len(text) - size)), [], size
        while left > 0:
            turn = min(left, rng.randint(200, 6_000))
            turns.append(text[at : at + turn])
            at, left = at + turn, left - turn
        bodies.append(_chat(turns))
    for _ in range(30):
        rows = [
            {"id": rng.randint(1, 10**9), "name": rng.choice(names), "at": f"2026-01-{rng.randint(10, 28)}T10:11:12Z",
             "amount": rng.randint(100, 99_999) / 100, "ref": base64.b64encode(rng.randbytes(12)).decode(),
             "url": f"https://example.org/a/{rng.randint(1, 999)}?q=x%20y"} for _ in range(size // 150)
        ]  # fmt: skip
        bodies += [_chat(["Sum up:", json.dumps(rows)]), _chat([(other * (size // 60))[:size]])]
    return bodies


# -- what gets past it, and what it leaves behind ----------------------------------------------------------------------


def bypass(bench: Bench) -> Iterator[Row]:
    """The families of ways around the filter that no case gets through, by class; and harmless texts in disguise."""
    sys.path.insert(0, str(ROOT / "tests" / "bypass"))
    import suite
    from ground import Ground

    ground, caught = Ground(bench.folder("bypass"), bench.test), Counter[str]()
    streamed, touched = [0, 0], [0, 0]
    os.sched_setaffinity(ground.process.process.pid, range(os.cpu_count() or 1))
    inside = [family for family in suite.families() if family.out is None]
    try:
        for family in inside:
            tried = list(suite.cases(family, ground))
            caught[family.kind] += all(case.caught for case in tried)
            for case in tried:
                streamed[case.caught] += "stream" in case.what
            for case in suite.harmless(family, ground) if family.dress else ():
                touched[case.caught] += 1
    finally:
        ground.close()
    for kind, of in Counter(family.kind for family in inside).items():
        target = "100 %" if kind in ("wire", "tools") else ""
        yield f"bypass families caught, {kind}", f"{caught[kind]} of {of}", f"{100 * caught[kind] / of:.0f} %", target
    yield "bypass cases caught in streams", f"{streamed[True]} of {sum(streamed)}", "", "100 %"
    total = f"{caught.total()} of {len(inside)}"
    beside = f"{len(suite.families()) - len(inside)} more are declared out of scope"
    yield "bypass families caught, all in scope", total, beside, "≥ 95 %"
    yield "harmless texts in disguise refused", f"{touched[True]} of {sum(touched)}", "", "0"


EVENTS = 200_000
"""Written for the speed of the log."""


def evidence(bench: Bench) -> Iterator[Row]:
    """Events per second of the log, and seconds from an answer until its event can be asked for with SQL."""
    from gateway.wal import Wal

    row = {"request_id": "r" * 32, "agent_id": "support", "route": "default", "wire_format": "openai_chat",
           "decision": "allow", "http_status": 200, "latency_us": 900, "filter_us": 120, "tokens_in": 200,
           "tokens_out": 50, "policy_version": 1, "policy_epoch": 1, "policy_hash": "0" * 64}  # fmt: skip
    wal = Wal(bench.folder("wal"), "gw-1", 0, "boot", 16 << 20, 10.0)
    begin, spent = time.perf_counter(), time.process_time()
    for _ in range(EVENTS // 2):
        wal.append([{"event_kind": "open", **row}, {"event_kind": "exchange", **row}], datetime.now(UTC), 0.0)
    spent, took = time.process_time() - spent, time.perf_counter() - begin
    wal.close()
    per_event = f"{spent * 1e6 / EVENTS:.1f} µs of processor time each"
    yield "events written to the log", f"{EVENTS / took:,.0f}/s", per_event, "≥ 100,000/s, ≤ 4 µs"
    yield _visible(bench)


ASKED = 5
"""Requests whose events are waited for."""


def _visible(bench: Bench) -> Row:
    """A gateway with the settings as they come, and `aispm ingest --follow` behind it."""
    from flows.publish import published_file
    from tasks.sandbox import run_query

    folder = bench.folder("visible")
    bench.test.PolicyFolder(folder).publish()
    upstream = bench.test.UpstreamSimulator()
    gateway = bench.test.GatewayProcess(folder, upstream.url)
    settings, config = folder / "gateway.toml", folder / "aispm.toml"
    settings.write_text(settings.read_text().replace("roll_seconds = 3600\n", ""))
    config.write_text('home = "home"\n[gateway]\nspool = "spool"\n')
    command = [sys.executable, "-m", "flows", "--config", str(config), "ingest", "--follow"]
    everywhere = range(os.cpu_count() or 1)
    with (folder / "follow.txt").open("w") as log:
        following = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    os.sched_setaffinity(following.pid, everywhere)
    took, published = [], published_file(folder / "home" / "lake")
    try:
        os.sched_setaffinity(gateway.start().process.pid, everywhere)
        for _ in range(ASKED):
            request = gateway.post(gateway.chat()).headers["x-request-id"]
            asked, answers = time.monotonic(), "select request_id from gateway_events where event_kind = 'exchange'"
            while not published.exists() or [request] not in map(list, run_query(published, answers).rows):
                if following.poll() is not None or time.monotonic() > asked + 120:
                    raise RuntimeError((folder / "follow.txt").read_text()[-300:])
                time.sleep(0.2)
            took.append(time.monotonic() - asked)
    finally:
        following.terminate()
        following.wait(60)
        gateway.stop()
        upstream.close()
    measured = f"{sorted(took)[len(took) // 2]:.0f} s, max {max(took):.0f} s"
    return "from an answer to its event in SQL", measured, f"{ASKED} requests", "≤ 30 s"


FIGURES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "filter_speed": filter_speed,
    "throughput": throughput,
    "first_token": first_token,
    "memory": memory,
    "false_positives": false_positives,
    "fleet": fleet,
    "bypass": bypass,
    "evidence": evidence,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="default: all")
    parser.add_argument("--peers", type=Path, default=ROOT / "build" / "peers", help="where peers are fetched to")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {OTHER})
    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table(title=f"gateway on one core, load {os.getloadavg()[0]:.1f} at the start", title_justify="left")
    for column in ("figure", "measured", "in the same run", "target"):
        table.add_column(column, overflow="fold")
    with tempfile.TemporaryDirectory(prefix="aispm-bench-") as scratch:
        bench = Bench(Peers(chosen.peers), Path(scratch))
        for name in chosen.figures or FIGURES:
            console.print(f"… {name}", style="dim", highlight=False)
            try:
                for row in FIGURES[name](bench):
                    table.add_row(*row)
            except (MissingError, OSError, RuntimeError, AssertionError) as e:
                table.add_row(name, "not measured", f"{type(e).__name__}: {e}", "")
    console.print(table)


if __name__ == "__main__":
    main()
