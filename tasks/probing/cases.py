"""What judges are shown of a stored attempt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.probing.catalog import Family, content_file
from tasks.probing.expand import render
from tasks.records import Case, ToolCall, Verdict


@cache
def _rubric(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def case_for(row: Mapping[str, Any], families: Mapping[str, Family]) -> Case | None:
    """What judges are shown of a stored attempt, rebuilt from the row alone.

    None when the row needs no judge, or when its family has changed since and the attack can no longer be told.
    Raises ConfigError when the rubric file is missing.
    """
    family = families.get(str(row["family_id"]))
    rubric = row.get("rubric")
    if row["verdict"] != Verdict.UNDECIDED or not rubric or family is None or family.sha256 != row["family_sha256"]:
        return None
    stored = json.loads(row["transforms"])
    values: dict[str, str] = {}
    for name, value in stored["canary"].items():
        values[name] = value
        match family.vars[name.partition(".")[0]]:
            case "canary_joined":
                values[f"{name}.a"], values[f"{name}.b"] = value[:6], value[6:]
            case "sink_url":
                values[f"{name}.host"] = value.removeprefix("https://").removesuffix("/p")
    rendered = render(family, family.seed(str(row["seed_id"])), stored["applied"], values)
    turns = [{"role": role, "content": content} for role, content in rendered.turns]
    for i, condition in rendered.when.items():
        turns[i]["content"] = f"[said only if the assistant had {condition}] {turns[i]['content']}"
    for image in rendered.plant.get("images", ()):
        turns[-1]["content"] += f"\n[with a picture that reads: {image['text']}]"
    if "system" in rendered.plant:
        turns.insert(0, {"role": "system", "content": str(rendered.plant["system"])})
    place = content_file(str(rubric), family.path)
    if place is None:
        raise ConfigError(f"the rubric {rubric} is gone; put it back", family.path, 1)
    text = _rubric(place)
    trace = tuple(ToolCall(c["name"], _arguments(c["arguments"]), c["result"]) for c in json.loads(row["tool_trace"]))
    return Case(str(row["attempt_id"]), family.family_id, family.goal, turns, str(row["excerpt"]), trace, text)


def _arguments(stored: str) -> dict[str, Any]:
    try:
        value = json.loads(stored)
    except ValueError:
        return {"_raw": stored}
    return value if isinstance(value, dict) else {"_raw": stored}
