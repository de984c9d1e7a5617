"""Checks of content that the command line offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.inputs import check_mapped, mapped_kinds
from tasks.errors import ConfigError
from tasks.mapping.catalog import load_catalogs
from tasks.probing.catalog import Family, family_files, load_families, load_family, taken
from tasks.probing.expand import count
from tasks.probing.selftest import echoes, replay
from tasks.settings import PROBES
from tasks.strict_yaml import load_yaml

_LISTS = {"owasp_llm": "owasp-llm@2025:", "owasp_asi": "owasp-asi@2026:"}


def lint_probes(folder: Path | None) -> str:
    """Load every family, look for its controls and replay its examples.

    Raises ConfigError with path and line of everything that is wrong, not of the first thing only.
    """
    problems: list[ConfigError] = []
    families: dict[str, Family] = {}
    kinds = mapped_kinds(load_catalogs(), folder)
    for path in [path for root in (PROBES, folder) if root is not None for path in family_files(root)]:
        try:
            family = load_family(path)
            check_mapped(family, kinds, folder)
        except ConfigError as e:
            problems.append(e)
            continue
        if family.family_id in families:
            problems.append(taken(family, families[family.family_id]))
            continue
        families[family.family_id] = family
        problems += _disagreements(family)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigError("\n".join([f"{len(problems)} problems", *map(str, problems)]))
    return f"ok: {len(families)} families, {sum(len(f.tests) for f in families.values())} selftests agree"


def _disagreements(family: Family) -> list[ConfigError]:
    """The selftests that come out otherwise than they say, and requests that hold what is searched for, by line."""
    _, lines = load_yaml(family.path)
    found = [
        ConfigError(
            f"the selftest `{result.name}` expects {result.expected.value} and comes out {result.actual.value}",
            family.path,
            lines.get(("tests", i), 1),
        )
        for i, result in enumerate(replay(family))
        if not result.passed
    ]
    return found + [ConfigError(e.note, family.path, lines.get(("seeds",), 1)) for e in echoes(family)]


def count_probes(folder: Path | None) -> dict[str, Any]:
    """What `expand.count` counts, the share of held-out seeds, and the OWASP risks that the families speak to."""
    families = load_families(extra_folder=folder)
    kinds = mapped_kinds(load_catalogs(), folder)
    counted: dict[str, Any] = dict(count(families))
    counted["held_out_share"] = round(counted["held_out"] / counted["seeds"], 3)
    links = [link for f in families.values() if f.finding_kind in kinds for link in kinds[f.finding_kind].links]
    for name, edition in _LISTS.items():
        keys = {k.control_key for k in links if k.relation != "none" and k.control_key.startswith(edition)}
        counted[name] = sorted(key.removeprefix(edition) for key in keys)
    return counted
