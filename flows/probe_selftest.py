"""Examples, needed clauses and the live matrix in one proof of the probe families."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.progress import shown
from tasks.errors import ConfigError
from tasks.estate.switches import SWITCHES
from tasks.probing.catalog import load_families
from tasks.probing.matrix import MOST_ERRORS, Matrix, Size, run_matrix
from tasks.probing.matrix_page import as_html, as_markdown, document
from tasks.probing.mutation import Removed, dead_assertions
from tasks.probing.selftest import SelftestResult, run_selftests
from tasks.settings import PROBES, Settings


@dataclass(frozen=True, slots=True)
class Proof:
    families: int
    selftests: Sequence[SelftestResult]
    dead: Sequence[Removed]
    matrix: Matrix | None
    seconds: float
    pages: tuple[Path, ...] = ()

    @property
    def problems(self) -> list[str]:
        wrong = [
            f"{r.family_id}: selftest `{r.name}` gives {r.actual}, expected {r.expected}"
            + (f" ({r.note})" if r.note else "")
            for r in self.selftests
            if not r.passed
        ]
        return wrong + [str(d) for d in self.dead] + (self.matrix.problems() if self.matrix else [])

    @property
    def exit_code(self) -> int:
        """4 outranks 5: what was not measured proves nothing either way."""
        if self.matrix is not None:
            failed, sent = self.matrix.errors()
            if failed > sent * MOST_ERRORS or not sent:
                return 4
        return 5 if self.problems else 0

    def lines(self) -> list[str]:
        agree = sum(r.passed for r in self.selftests)
        said = [
            f"Examples    {agree} of {len(self.selftests)} selftests of {self.families} families agree",
            f"Assertions  {len(self.dead)} that no example needs",
        ]
        if self.matrix is not None:
            failed, sent = self.matrix.errors()
            said.append(
                f"Matrix      {len(self.matrix.families)} families × {len(self.matrix.switches)} weaknesses, "
                f"{sent:,} attempts, {failed} failed, {self.seconds:.0f} s"
            )
            said += [
                f"  {name:<48} {hits:>5} of {n:<6} 95 % Wilson {b.low * 100:.2f}–{b.high * 100:.2f} %"
                for name, hits, n, b in self.matrix.rates()
            ]
            if stale := self.matrix.stale_overlaps():
                said.append(f"  declared overlaps not seen in this sample: {len(stale)} ({'; '.join(stale[:5])} …)")
        said += [f"  PROBLEM {p}" for p in self.problems]
        said += [f"Written     {page}" for page in self.pages]
        said.append({0: "ok", 4: "INCOMPLETE: too many attempts failed", 5: "FAILED"}[self.exit_code])
        return said

    def document(self) -> dict[str, Any]:
        return {
            "schema": "aispm.selftest/1",
            "families": self.families,
            "selftests": len(self.selftests),
            "dead_clauses": [str(d) for d in self.dead],
            "problems": self.problems,
            "matrix": None if self.matrix is None else document(self.matrix),
        }


def prove(
    settings: Settings,
    *,
    families: tuple[str, ...],
    switches: tuple[str, ...],
    seeds_per_cell: int,
    live: bool,
    out: Path | None,
    progress_mode: str,
) -> Proof:
    """Run the proof and write its pages to `out`. Raises ConfigError on an unknown family or switch."""
    known = load_families(extra_folder=settings.probing.folder)
    if unknown := sorted(set(families) - set(known)):
        raise ConfigError(f"unknown probe family {', '.join(unknown)}; `aispm probe ls` shows all")
    wanted = {name: f for name, f in known.items() if not families or name in families}
    started = time.monotonic()
    selftests = run_selftests(wanted)
    dead = dead_assertions(wanted)
    matrix = None
    # The bank knows the weaknesses of the built-in families; one of your own that names another has its examples only.
    shown_by_bank = {n: f for n, f in known.items() if f.path.is_relative_to(PROBES) or f.bank_switch in SWITCHES}
    only = tuple(name for name in families if name in shown_by_bank)
    if live and (only or not families):
        with shown(progress_mode) as display:
            matrix = run_matrix(
                shown_by_bank, only=only, switches=switches, size=Size(cell_seeds=seeds_per_cell),
                progress=lambda done, total, note: display.update("selftest", done, total, note),
            )  # fmt: skip
    seconds = time.monotonic() - started
    pages = () if out is None or matrix is None else _write(out, matrix)
    return Proof(len(wanted), selftests, dead, matrix, seconds, pages)


def _write(folder: Path, matrix: Matrix) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "matrix.html": as_html(matrix),
        "matrix.md": as_markdown(matrix),
        "matrix.json": json.dumps(document(matrix), indent=1, ensure_ascii=False) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tuple(folder / name for name in texts)
