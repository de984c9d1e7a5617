"""Counters of one worker in Prometheus' text format (exposition format 0.0.4), made from the events it logs.

Label values come from the settings, the policy and `reason_codes.yaml` only: no client can write into them or make
their number grow.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
"""Seconds of whole exchanges: from a refusal to the longest answer a model may take."""
FILTER_BUCKETS = (0.00005, 0.0001, 0.0002, 0.0004, 0.0008, 0.0015, 0.003, 0.006, 0.012, 0.05, 0.25, 1.0)
"""Seconds of inspection: close together around what 4 KiB and 64 KiB bodies take."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TOKENS = ((("in",), "tokens_in"), (("out",), "tokens_out"), (("cached",), "tokens_cached"))
_BUDGET_REASONS = ("POLICY.BUDGET_DAY", "POLICY.BUDGET_MONTH", "POLICY.RATE")


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip(self._bounds, self._counts, strict=False):
            total += count
            yield f'{name}_bucket{{le="{bound:g}"}} {total}'
        total += self._counts[-1]
        yield f'{name}_bucket{{le="+Inf"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """`observe` takes every event as it is logged; `text` is what a scrape gets."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._reasons: Counter[tuple[str, ...]] = Counter()
        self._budget: Counter[tuple[str, ...]] = Counter()
        self._matches: Counter[tuple[str, ...]] = Counter()
        self._tokens: Counter[tuple[str, ...]] = Counter()
        self._bytes: Counter[tuple[str, ...]] = Counter()
        self._cost = 0
        self._latency = _Histogram(LATENCY_BUCKETS)
        self._filter = _Histogram(FILTER_BUCKETS)

    def observe(self, event: Mapping[str, Any]) -> None:
        """Count one event of the log."""
        kind = event["event_kind"]
        if kind == "match":
            self._matches[(event.get("rule_id") or "none",)] += event.get("match_count") or 1
        if kind != "exchange":
            return
        self._requests[(event.get("route") or "none", event.get("wire_format") or "none", event["decision"])] += 1
        if reason := event.get("reason_code"):
            self._reasons[(reason,)] += 1
            if reason in _BUDGET_REASONS:
                self._budget[(reason,)] += 1
        for label, column in _TOKENS:
            if tokens := event.get(column):
                self._tokens[label] += tokens
        self._bytes[("in",)] += event.get("req_bytes") or 0
        self._bytes[("out",)] += event.get("resp_bytes") or 0
        self._cost += event.get("cost_micro_usd") or 0
        self._latency.add((event.get("latency_us") or 0) / 1e6)
        self._filter.add((event.get("filter_us") or 0) / 1e6)

    def text(
        self,
        *,
        policy_version: int,
        ready: bool,
        segment_no: int,
        lost_events: int,
        budgets: Sequence[tuple[str, int, int, int]] = (),
    ) -> str:
        """The whole exposition; the arguments are what the worker knows at this moment. Of each budget: id, limit,
        spent and held, as in `gateway.spending.Standing`."""
        lines = [*self._lines(policy_version, ready, segment_no, lost_events), *_budgets(budgets)]
        return "\n".join(lines) + "\n"

    def _lines(self, policy_version: int, ready: bool, segment_no: int, lost_events: int) -> Iterator[str]:
        for name, says, labels, counter in (
            ("requests", "Answered requests", ("route", "wire_format", "decision"), self._requests),
            ("reasons", "Answers by reason code", ("reason",), self._reasons),
            ("budget_refusals", "Requests refused by a budget or rate", ("reason",), self._budget),
            ("matches", "Matches by rule", ("rule",), self._matches),
            ("tokens", "Tokens", ("direction",), self._tokens),
            ("bytes", "Bytes of bodies", ("direction",), self._bytes),
        ):
            yield from _counter(f"aispm_gateway_{name}_total", says, labels, counter)
        yield from _single("aispm_gateway_cost_micro_usd_total", "Booked cost, millionths of a dollar", self._cost)
        for name, says, histogram in (
            ("aispm_gateway_request_seconds", "Whole time of an exchange", self._latency),
            ("aispm_gateway_filter_seconds", "Time of an exchange spent in inspection", self._filter),
        ):
            yield f"# HELP {name} {says}"
            yield f"# TYPE {name} histogram"
            yield from histogram.lines(name)
        for name, says, value in (
            ("policy_version", "Version of the policy in force", policy_version),
            ("ready", "1 when it answers requests: policy valid, log writable", int(ready)),
            ("log_segment", "Number of the newest log segment", segment_no),
            ("log_lost_events", "Events lost that no gap event tells of yet", lost_events),
        ):
            yield from _single(f"aispm_gateway_{name}", says, value, "gauge")
        yield from _single("process_resident_memory_bytes", "Resident memory", _resident_bytes(), "gauge")


def _counter(name: str, says: str, labels: tuple[str, ...], counter: Mapping[tuple[str, ...], int]) -> Iterator[str]:
    yield f"# HELP {name} {says}"
    yield f"# TYPE {name} counter"
    for values, count in sorted(counter.items()):
        shown = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True))
        yield f"{name}{{{shown}}} {count}"


def _budgets(budgets: Sequence[tuple[str, int, int, int]]) -> Iterator[str]:
    name = "aispm_gateway_budget_micro_usd"
    yield f"# HELP {name} Budgets in their current period, all workers together, as this worker last heard"
    yield f"# TYPE {name} gauge"
    for budget, *amounts in sorted(budgets):
        for what, amount in zip(("limit", "spent", "held"), amounts, strict=True):
            yield f'{name}{{budget="{_escaped(budget)}",amount="{what}"}} {amount}'


def _single(name: str, says: str, value: int, kind: str = "counter") -> Iterator[str]:
    yield f"# HELP {name} {says}"
    yield f"# TYPE {name} {kind}"
    yield f"{name} {value}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident_bytes() -> int:
    """0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
