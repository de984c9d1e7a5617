"""The rubrics of `probes/rubrics/`: what a judge is asked, and what offline judges must read to answer."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from tasks.errors import ConfigError
from tasks.settings import CONTENT_ROOT

RUBRIC_FOLDER = CONTENT_ROOT / "probes" / "rubrics"
READS = ("response", "premise", "trace")
"""Where the proof lies: in the reply, in how it treats a false premise, in the tool calls."""

_HEAD = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)
_FIELD = re.compile(r"^reads:\s*([a-z]+)\s*(?:#.*)?$", re.MULTILINE)


@lru_cache(maxsize=64)
def what_to_read(rubric: str) -> str | None:
    """The `reads` field of a rubric's text, one of `READS`; None when it names none, and offline judges abstain."""
    head = _HEAD.match(rubric)
    found = _FIELD.search(head.group(1)) if head else None
    return found.group(1) if found and found.group(1) in READS else None


def load_rubric(reference: str, folder: Path = RUBRIC_FOLDER) -> str:
    """Text of a rubric named as in a family file: `tool_misuse`, `tool_misuse.md` or `rubrics/tool_misuse.md`.

    Raises ConfigError when there is no such file, or it does not say what to read.
    """
    name = reference.removeprefix("rubrics/").removesuffix(".md")
    path = folder / f"{name}.md"
    if not re.fullmatch(r"[a-z0-9_]+", name) or not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.md")))
        raise ConfigError(f"no rubric `{reference}`; known: {known}", path)
    text = path.read_text(encoding="utf-8")
    if what_to_read(text) is None:
        raise ConfigError(f"a rubric starts with a `---` head holding `reads: {' | '.join(READS)}`", path, 1)
    return text
