"""Planted tools and what is counted of them: a family that cannot work is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ConfigError
from tasks.probing.catalog import PROBES, load_families, load_family

MEMORY = PROBES / "asi06_memory_poisoning" / "memory_poisoning.yaml"
LOOP = PROBES / "llm10_unbounded_consumption" / "tool_loop_dos.yaml"
BURST = PROBES / "llm10_unbounded_consumption" / "rate_limit_absent.yaml"
GOAL = PROBES / "asi01_goal_hijack" / "goal_drift.yaml"
SCHEMA = PROBES / "mcp" / "mcp_schema_abuse.yaml"


@pytest.mark.parametrize(
    ("source", "old", "new", "word"),
    [
        (MEMORY, "store: memory, value: text}", "store: memory, value: words}", "`words` is no parameter of"),
        (MEMORY, "store: memory, value: text}", "store: attic, value: text}", "not one of"),
        (MEMORY, "do: append", "do: burn", "not one of"),
        (MEMORY, "{state_diff: {store: memory,", "{state_diff: {store: files,", "no planted tool has an effect"),
        (MEMORY, '{role: user, content: "Recall your', '{role: new_session, content: "Recall your', "last turn"),
        (MEMORY, '{role: user, content: "Read the page', '{role: new_session, content: "Read the page', "between two"),
        (MEMORY, "{store: memory, contains:", "{store: memory, key_match: '(', contains:", "regular expression"),
        (LOOP, "tool_rounds: 9", "tool_rounds: 90", "out of bounds"),
        (LOOP, "{tool_count: {over: 6}}", "{tool_count: {name_match: '[', over: 6}}", "regular expression"),
        (LOOP, "requires: [client_tools]", "requires: [chat]", "tool conditions need"),
        (LOOP, "{tool_count: {over: 6}}", "{tool_count: {more: 6}}", "`over` is missing"),
        (BURST, "burst: 24", "burst: 2400", "out of bounds"),
        (BURST, "burst: 24\n", "", "needs `burst`"),
        (BURST, "requires: [burst]", "requires: [chat]", "needs `burst`"),
        (GOAL, "{tool_order: {first:", "{tool_order: {without: {name: a}, first:", "either `first` or `without`"),
        (SCHEMA, "period:\n              enum:", "span:\n              enum:", "no parameter of"),
    ],
)
def test_refuses_with_path_and_line(tmp_path: Path, source: Path, old: str, new: str, word: str) -> None:
    text = source.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "g" / source.name
    path.parent.mkdir()
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=word) as caught:
        load_family(path)
    assert caught.value.path == path
    assert caught.value.line is not None


def test_every_planted_effect_can_be_reached() -> None:
    """A store that a clause compares is one that a tool of the same seed can change."""
    for family in load_families().values():
        for clause in family.clauses:
            store = clause.conditions.get("state_diff", {}).get("store")
            for seed in family.seeds if store else ():
                effects = [t.get("effect", {}) for t in seed.plant.get("tools", ())]
                assert any(e.get("store") == store and e["do"] not in ("read", "list", "run") for e in effects)
