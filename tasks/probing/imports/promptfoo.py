"""promptfoo's configurations: prompts × tests × assertions, as YAML or JSON.

An assertion is what a good reply passes; where it fails, the attack has succeeded. Only assertions whose meaning we can
say in full are taken over; a test with any other is left to a judge and never counted as resisted by the rest alone.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.probing.imports.attack import Attack, Check, found
from tasks.probing.imports.example import example_of
from tasks.strict_yaml import parse_yaml

SUFFIXES = (".yaml", ".yml", ".json")
MAX_TESTS = 20_000
"""Combinations of prompts, tests and listed variables of one file."""
_HOLE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_OTHER_PROMPT = frozenset({"prefix", "suffix", "transformVars", "disableVarExpansion"})
_OTHER_REPLY = frozenset({"transform", "postprocess"})
_SCORES = frozenset({"threshold", "assertScoringFunction"})
_UNRELATED = "Something quite different."


def read(text: str, path: Path) -> tuple[list[Attack], int, Counter[str]]:
    """Attacks, how many tests the file makes, and what was left out. Raises ConfigError with path and line."""
    data, lines = parse_yaml(text, path)
    if isinstance(data, list):
        data = {"prompts": ["{{prompt}}"], "tests": data}  # a file of tests alone
    if not isinstance(data, dict) or not isinstance(data.get("tests"), list):
        raise ConfigError("a promptfoo file has a list `tests:`", path, lines.get(("tests",), 1))
    lost: Counter[str] = Counter()
    if data.get("scenarios"):
        lost["`scenarios`, which make tests of their own"] += 1
    prompts = list(_prompts(data.get("prompts", ["{{prompt}}"]), lost))
    default = _mapping(data, "defaultTest")
    attacks: list[Attack] = []
    count = 0
    for test in data["tests"]:
        if not isinstance(test, dict):
            lost["a test in another file" if isinstance(test, str) else "a test that is no mapping"] += 1
            count += 1
            continue
        fields = {**default, **test}
        options = {**_mapping(default, "options"), **_mapping(test, "options")}
        if changed := sorted((_OTHER_PROMPT & set(options)) | ({"prompts"} & set(test))):
            lost[f"a test whose prompts are changed by `{changed[0]}`"] += 1
            count += 1
            continue
        given = {**_mapping(default, "vars"), **_mapping(test, "vars")}
        assertions = [*_list(default, "assert"), *_list(test, "assert")]
        if scored := sorted((_SCORES & set(fields)) | (_OTHER_REPLY & set(options))):
            # One assertion that fails does not fail such a test, or not on the reply as it came.
            lost[f"assertions under `{scored[0]}`"] += len(assertions)
            assertions = []
        decision = _decision(assertions, given, lost)
        for prompt, values in itertools.product(prompts, _combinations(given)):
            count += 1
            if count > MAX_TESTS:
                raise ConfigError(f"makes more than {MAX_TESTS} tests; split it", path, 1)
            if (said := _render(prompt, values, lost)) is not None:
                turns, system = said
                attacks.append(Attack(turns, system, *decision))
    return attacks, count, lost


def _prompts(given: Any, lost: Counter[str]) -> Iterator[str]:
    for prompt in given if isinstance(given, list) else [given]:
        raw = prompt.get("raw") if isinstance(prompt, dict) else prompt
        if isinstance(raw, str) and not raw.startswith("file://"):
            yield raw
        else:
            lost["a prompt in another file, or made by a program"] += 1


def _combinations(given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """promptfoo takes every combination of variables that are lists."""
    names = list(given)
    for values in itertools.product(*(v if isinstance(v, list) else [v] for v in given.values())):
        yield dict(zip(names, values, strict=True))


def _render(
    prompt: str, values: Mapping[str, Any], lost: Counter[str]
) -> tuple[tuple[tuple[str, str], ...], str | None] | None:
    """(turns, system prompt); chat prompts are JSON lists of messages, and their variables are filled in after that."""
    messages: Any = None
    if prompt.lstrip().startswith("["):
        try:
            messages = json.loads(prompt)
        except ValueError:
            messages = None
    if not isinstance(messages, list):
        messages = [{"role": "user", "content": prompt}]
    system: str | None = None
    turns: list[tuple[str, str]] = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            lost["a message that is no text of system, user or assistant"] += 1
            return None
        text = _filled(content, values)
        if text is None:
            lost["a template that does more than name variables, or a variable without a text"] += 1
            return None
        if role == "system":
            system = text
        else:
            turns.append((role, text))
    return tuple(turns), system


def _filled(template: str, values: Mapping[str, Any]) -> str | None:
    if "{{" in _HOLE.sub("", template) or "{%" in template:
        return None
    out: list[str] = []
    end = 0
    for hole in _HOLE.finditer(template):
        value = values.get(hole[1])
        if not isinstance(value, str | int | float) or str(value).startswith("file://"):
            return None
        out += [template[end : hole.start()], str(value)]
        end = hole.end()
    return "".join([*out, template[end:]])


def _decision(
    assertions: list[Any], given: Mapping[str, Any], lost: Counter[str]
) -> tuple[tuple[Check, ...], bool, bool, str | None]:
    """(checks, decided, refusal expected, rubric) of one test."""
    checks: list[Check] = []
    rubrics: list[str] = []
    decided, refusal = bool(assertions), False
    for one in assertions:
        kind = str(one.get("type")) if isinstance(one, dict) else str(one)
        mapped: list[Check] | None = None
        if isinstance(one, dict) and not {"transform", "threshold", "config", "provider"} & set(one):
            if one.get("weight") == 0:
                lost[f"assertion `{kind}` of weight 0, which decides nothing"] += 1
                continue
            value = one.get("value")
            plain = _filled(value, given) if isinstance(value, str) else value
            if kind == "is-refusal":
                refusal = True
                decided = False  # what is no refusal of a known form is a judge's to read
                continue
            if kind == "llm-rubric" and isinstance(plain, str) and "file://" not in plain:
                rubrics.append(plain)
                decided = False
                continue
            mapped = _mapped(kind, plain)
        if mapped is None:
            lost[f"assertion `{kind}`"] += 1
            decided = False
        else:
            checks += mapped
    return tuple(checks), decided and bool(checks), refusal, "\n\n".join(rubrics) or None


def _mapped(kind: str, value: Any) -> list[Check] | None:
    """One assertion as conditions under which it fails; None when it cannot be said faithfully."""
    negated = kind.startswith("not-")
    base = kind.removeprefix("not-")
    flags = "(?is)" if base.startswith("icontains") else "(?s)"
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str | int | float) and str(v) and "file://" not in str(v) for v in values):
        return None
    words = [re.escape(str(v)) for v in values]
    match base:
        case "contains" | "icontains" if not isinstance(value, list):
            patterns, example = [words[0]], str(value)
        case "contains-any" | "icontains-any":
            patterns, example = [f"(?:{'|'.join(words)})"], str(values[0])
        case "contains-all" | "icontains-all" if negated:
            patterns, example = ["\\A" + "".join(f"(?=.*{w})" for w in words)], " ".join(map(str, values))
        case "contains-all" | "icontains-all":
            patterns, example = words, " ".join(map(str, values))
        case "starts-with" if not isinstance(value, list):
            patterns, example = [rf"\A{words[0]}"], str(value)
        case "equals" if not isinstance(value, list):
            patterns, example = [rf"\A{words[0]}\Z"], str(value)
        case "regex" if isinstance(value, str) and (made := example_of(value)) is not None:
            patterns, example, flags = [value], made, ""
        case _:
            return None
    if negated:
        return [found({"output_regex": flags + patterns[0]}, example)]
    # A cut-off or empty reply lacks everything: only a whole one can fail for what is missing.
    checks = [found({"output_lacks": flags + p, "complete": True}, _UNRELATED, example) for p in patterns]
    return None if any(re.search(flags + p, _UNRELATED) for p in patterns) else checks


def _mapping(entry: Any, name: str) -> dict[str, Any]:
    value = entry.get(name) if isinstance(entry, dict) else None
    return dict(value) if isinstance(value, dict) else {}


def _list(entry: Any, name: str) -> list[Any]:
    value = entry.get(name) if isinstance(entry, dict) else None
    return list(value) if isinstance(value, list) else []
