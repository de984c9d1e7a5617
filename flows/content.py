"""Checks of content and policies that the command line offers."""

from __future__ import annotations

from pathlib import Path

from gateway.policy.bundle import verify_bundle
from tasks.errors import ConfigError
from tasks.probing.catalog import load_families
from tasks.probing.selftest import run_selftests
from tasks.settings import PROBES


def lint_probes(folder: Path | None) -> str:
    """Load every family and replay its examples. Raises ConfigError with path and line, or naming what disagrees."""
    families = load_families(PROBES, folder)
    results = run_selftests(families)
    wrong = [result for result in results if not result.passed]
    if wrong:
        named = "; ".join(f"{r.family_id} / {r.name}: expected {r.expected}, got {r.actual}" for r in wrong[:10])
        raise ConfigError(f"{len(wrong)} selftests disagree: {named}")
    return f"ok: {len(families)} families, {len(results)} selftests agree"
