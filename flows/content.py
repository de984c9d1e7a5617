"""Checks of content that the command line offers."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import ConfigError
from tasks.probing.catalog import load_families
from tasks.probing.selftest import run_selftests


def lint_probes(folder: Path | None) -> str:
    """Load every family and replay its examples. Raises ConfigError with path and line, or naming what disagrees."""
    families = load_families(extra_folder=folder)
    results = run_selftests(families)
    wrong = [str(result) for result in results if not result.passed]
    if wrong:
        raise ConfigError(f"{len(wrong)} selftests disagree: " + "; ".join(wrong[:10]))
    return f"ok: {len(families)} families, {len(results)} selftests agree"
