"""The bank's proof: every family against every weakness, live over loopback.

A family must fire where its own weakness is on, and nowhere else: neither on another weakness (declared overlaps
aside), nor on the hardened bank, nor on harmless requests to the weak bank.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import ConfigError
from tasks.estate.estate import Estate
from tasks.estate.switches import SWITCHES
from tasks.estate.variants import Variant, hardened, vulnerable
from tasks.probing.campaign import run_batch
from tasks.probing.catalog import Family, Seed
from tasks.probing.plan import plan
from tasks.probing.statistics import Interval, wilson
from tasks.records import Asset, AssetKind, ProofLabel, Verdict, digest
from tasks.settings import ProbingSettings

_SERVICES = {"llm_endpoint": ("assistant",), "agent": ("mcp", "agent"), "rag_system": ("rag",)}
"""What has to run so that a target of this kind can be probed."""
_TARGET_OF = {"assistant": "llm_endpoint", "agent": "agent", "mcp": "agent", "rag": "rag_system"}
"""Kind of the target that shows what a switch changes in a service; the cloud account is no probe target."""

MOST_ERRORS = 0.05
"""Share of technical failures above which the matrix proves nothing."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is sent. Attempts of a cell are seeds times templates per seed, at every target that fits."""

    cell_seeds: int = 2
    """Of a cell off the diagonal; one template each, the plain one."""
    diagonal_templates: int = 3
    """Per seed, all seeds."""
    hardened_templates: int = 2


@dataclass(slots=True)
class Cell:
    """What one family did at one variant of the bank."""

    verdicts: Counter[str] = field(default_factory=Counter)
    seeds_fired: set[str] = field(default_factory=set)
    error_kinds: Counter[str] = field(default_factory=Counter)
    shown: set[str] = field(default_factory=set)
    """Excerpts left to judges."""
    examples: list[str] = field(default_factory=list)
    """Seed and transforms of the first attempts that fired."""

    def add(self, row: Mapping[str, Any]) -> None:
        self.verdicts[row["verdict"]] += 1
        if row["verdict"] == Verdict.VULNERABLE:
            self.seeds_fired.add(row["seed_id"])
            if len(self.examples) < 3:
                self.examples.append(f"{row['seed_id']} at {row['asset_id']} ({row['evidence_kind']})")
        elif row["verdict"] == Verdict.ERROR:
            self.error_kinds[row["error_kind"]] += 1
        elif row["rubric"]:
            self.shown.add(row["excerpt"])

    @property
    def fired(self) -> int:
        return self.verdicts[Verdict.VULNERABLE]

    @property
    def sent(self) -> int:
        return self.verdicts.total() - self.verdicts[Verdict.NOT_APPLICABLE]


class Mark(StrEnum):
    """What a cell shows."""

    FIRES = "fires"
    JUDGED = "shows judges something else than the hardened bank"
    MISSES = "does not fire"
    OVERLAP = "fires, declared"
    UNDECLARED = "fires, not declared"
    SILENT = "silent"
    UNTOUCHED = "no target of the family is changed by the switch"
    FAILED = "nothing but errors"


@dataclass(slots=True)
class Matrix:
    families: Mapping[str, Family]
    switches: tuple[str, ...]
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    """(family, switch) -> what happened; without an entry no target was changed by the switch."""
    hardened: dict[str, Cell] = field(default_factory=dict)
    benign: dict[str, Cell] = field(default_factory=dict)
    """Harmless requests to the bank with the family's own weakness on."""

    def mark(self, family_id: str, switch: str) -> Mark:
        family, cell = self.families[family_id], self.cells.get((family_id, switch))
        own = family.bank_switch == switch
        if cell is None or cell.sent == 0:
            return Mark.MISSES if own else Mark.UNTOUCHED
        if cell.verdicts[Verdict.ERROR] == cell.sent:
            return Mark.FAILED
        if own:
            if cell.fired:
                return Mark.FIRES
            twin = self.hardened.get(family_id, Cell())
            judged = not any(c.effect == "fail_if" for c in family.clauses)
            return Mark.JUDGED if judged and cell.shown - twin.shown else Mark.MISSES
        if not cell.fired:
            return Mark.SILENT
        return Mark.OVERLAP if switch in family.bank_overlaps else Mark.UNDECLARED

    def problems(self) -> list[str]:
        """Everything that disproves the bank or a family, in sentences."""
        found = []
        for family_id, family in self.families.items():
            for switch in self.switches:
                match self.mark(family_id, switch):
                    case Mark.MISSES:
                        found.append(f"{family_id} does not fire with its weakness `{switch}` on")
                    case Mark.UNDECLARED:
                        cell = self.cells[family_id, switch]
                        found.append(f"{family_id} fires with `{switch}` on, not declared: {'; '.join(cell.examples)}")
                    case Mark.FAILED:
                        found.append(f"{family_id} with `{switch}` on: every attempt failed")
            for what, cells in (("the hardened bank", self.hardened), ("harmless requests", self.benign)):
                if (control := cells.get(family_id)) and control.fired:
                    found.append(f"{family_id} fires on {what}: {'; '.join(control.examples)}")
            if family.bank_switch not in SWITCHES and not family.control_group:
                found.append(f"{family_id} has no weakness in the bank: `{family.bank_switch}`")
        return found

    def stale_overlaps(self) -> list[str]:
        """Declared overlaps that did not show in this sample."""
        return [
            f"{family_id} and `{switch}`"
            for family_id, family in self.families.items()
            for switch in family.bank_overlaps
            if switch in self.switches and self.mark(family_id, switch) is Mark.SILENT
        ]

    def errors(self) -> tuple[int, int]:
        """(attempts that failed technically, attempts)."""
        every = [*self.cells.values(), *self.hardened.values(), *self.benign.values()]
        return sum(c.verdicts[Verdict.ERROR] for c in every), sum(c.sent for c in every)

    def rates(self) -> list[tuple[str, int, int, Interval]]:
        """(what is counted, how often, out of how many, Wilson's bounds)."""
        marks = [(f, s, self.mark(f, s)) for f in self.families for s in self.switches]
        own = [m for f, s, m in marks if self.families[f].bank_switch == s]
        # A cell with an overlap is neither owed silence nor owed a hit.
        other = [
            m for f, s, m in marks
            if self.families[f].bank_switch != s and m in (Mark.SILENT, Mark.UNDECLARED)
        ]  # fmt: skip
        counted = [
            ("diagonal: families that fire", sum(m in (Mark.FIRES, Mark.JUDGED) for m in own), len(own)),
            ("off the diagonal: cells that fire undeclared", sum(m is Mark.UNDECLARED for m in other), len(other)),
        ]
        for name, cells in (("hardened bank", self.hardened), ("harmless requests", self.benign)):
            fired, sent = sum(c.fired for c in cells.values()), sum(c.sent for c in cells.values())
            counted.append((f"{name}: attempts that fire", fired, sent))
        return [(name, hits, n, wilson(hits, n)) for name, hits, n in counted]


Progress = Callable[[int, int, str], None]
"""(variants of the bank done, variants, name of the current one)."""


def probed_switches() -> tuple[str, ...]:
    """The switches that a probe target can show; those of the cloud account are for posture checks."""
    return tuple(name for name, s in SWITCHES.items() if any(service in _TARGET_OF for service in s.services))


def run_matrix(
    families: Mapping[str, Family],
    *,
    only: Sequence[str] = (),
    switches: Sequence[str] = (),
    size: Size | None = None,
    progress: Progress | None = None,
) -> Matrix:
    """Start the bank once per weakness, and once hardened, and probe it with every family.

    `only` and `switches` take a sample; `families` must be all of them, for the harmless requests are those of the
    control group. Raises ConfigError on an unknown family or switch.
    """
    size = size or Size()
    for what, wanted, known in (("probe family", only, families), ("switch", switches, probed_switches())):
        if unknown := sorted(set(wanted) - set(known)):
            raise ConfigError(f"unknown {what}: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    taken = {f: families[f] for f in families if not only or f in only}
    matrix = Matrix(taken, tuple(s for s in probed_switches() if not switches or s in switches))
    harmless = [seed for f in families.values() if f.control_group for seed in f.seeds]
    tell = progress or (lambda done, total, note: None)
    total = len(matrix.switches) + 1
    tell(0, total, "hardened")
    everything = [(_cut(f, len(f.seeds), size.hardened_templates), matrix.hardened) for f in taken.values()]
    _probe(hardened(), _kinds(taken), everything)
    for i, switch in enumerate(matrix.switches, 1):
        tell(i, total, switch)
        _against(switch, matrix, harmless, size)
    tell(total, total, "")
    return matrix


def _against(switch: str, matrix: Matrix, harmless: Sequence[Seed], size: Size) -> None:
    """Fill in the column of one switch."""
    changed = {_TARGET_OF[s] for s in SWITCHES[switch].services if s in _TARGET_OF}
    cells: dict[str, Cell] = {}
    work = []
    for family in matrix.families.values():
        own = family.bank_switch == switch
        seeds, each = (len(family.seeds), size.diagonal_templates) if own else (size.cell_seeds, 1)
        work.append((_cut(family, seeds, each), cells))
        if own and harmless and not _any_question_attacks(family):
            work.append((_harmless(family, harmless), matrix.benign))
    _probe(vulnerable(switch), changed, work)
    for family_id, cell in cells.items():
        matrix.cells[family_id, switch] = cell


def _any_question_attacks(family: Family) -> bool:
    """Whether harmless wording attacks as well: a store without isolation leaks whatever is asked, a burst counts."""
    return family.burst > 0 or any("differential" in c.conditions for c in family.clauses)


def _kinds(families: Mapping[str, Family]) -> set[str]:
    return {surface for f in families.values() for surface in f.surfaces} & set(_SERVICES)


def _cut(family: Family, seeds: int, each: int) -> Family:
    """The family with its first seeds, held-out ones among them, and a few templates of each."""
    train = [s for s in family.seeds if s.split == "train"]
    held = [s for s in family.seeds if s.split != "train"]
    order = [*train[:1], *held[:1], *train[1:], *held[1:]]
    return replace(family, seeds=tuple(order[:seeds]), limit=each)


def _harmless(family: Family, harmless: Iterable[Seed]) -> Family:
    """The family's detectors over requests that hold no attack."""
    return replace(
        family,
        seeds=tuple(replace(seed, plant={}) for seed in harmless),
        product=(("identity",),),
        apply="user",
        sha256=digest(family.sha256, "harmless"),
    )


def _probe(variant: Variant, kinds: set[str], work: Sequence[tuple[Family, dict[str, Cell]]]) -> None:
    """Probe one variant of the bank; every attempt is added to the cell of its family in the mapping beside it."""
    work = [(f, cells) for f, cells in work if set(f.surfaces) & kinds]
    surfaces = {s for f, _ in work for s in f.surfaces} & kinds
    services = [name for kind in sorted(surfaces) for name in _SERVICES[kind]]
    if not services:
        return
    with (
        tempfile.TemporaryDirectory(prefix="aispm-selftest-") as folder,
        Estate(Path(folder), variant, services) as bank,
    ):
        targets = _targets(bank, surfaces)
        # A family may stand twice, attacking and harmless: two campaigns, for one knows its families by their ids.
        for number, cells in enumerate(list({id(c): c for _, c in work}.values())):
            mine = {f.family_id: f for f, c in work if c is cells}
            settings = ProbingSettings(families=tuple(mine), seed=1)
            campaign = plan(f"selftest/{folder}", f"selftest/{number}", targets, mine, settings, full=True)
            for batch in campaign.batches:
                asset = next(t for t in targets if t.asset_id == batch.asset_id)
                spool = Path(folder) / f"{number}-{digest(batch.key)[:16]}.jsonl"
                rows = {row["attempt_id"]: row for row in run_batch(batch, asset, mine, settings, spool)}
                for attempt in batch.attempts:
                    # A service that died proves nothing by its silence.
                    lost = {"verdict": Verdict.ERROR.value, "error_kind": "not_sent"}
                    cells.setdefault(attempt.family_id, Cell()).add(rows.get(attempt.attempt_id, lost))


def _targets(bank: Estate, kinds: set[str]) -> list[Asset]:
    declared = yaml.safe_load((bank.home / "inventory.yaml").read_text(encoding="utf-8"))["assets"]
    return [
        Asset(
            a["id"], AssetKind(a["kind"]), a["name"], {**a["props"], "allow_intrusive": True}, True, True,
            ProofLabel.OFFICIAL_SHAPE_FAKE,
        )
        for a in declared
        if a.get("active") and a.get("props", {}).get("wire_format") and a["kind"] in kinds
    ]  # fmt: skip
