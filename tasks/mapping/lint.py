"""The mapping linter: ids that do not exist, mean something else, or name no edition, in anybody's mapping file.

Published mappings are wrong more often than one thinks: of 80 ISO/IEC 42001 references in one, 12 name no control and
38 carry another control's label. Rules: L1 unknown id, L2 heading used as a control, L3 label drift, L4 retired id,
L5 no edition, L6 invented form, L7 wrong article, L8 number skipped in this edition, L9 printed variant.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.mapping.catalog import HEADINGS, Catalogs, Control, load_catalogs, repaired
from tasks.strict_yaml import load_yaml

ID_FIELDS = ("control_key", "key", "control", "control_id", "id", "a_key", "b_key")
LABEL_FIELDS = ("label", "title", "name")
LIMIT = {"eu-ai-act": 40, "nist-sp800-218a": 40}
"""Lowest share of common words, per cent, at which a label still counts as the control's; 50 elsewhere."""
GROUPING = HEADINGS - {"clause", "tactic", "practice"}
"""Headings that nobody can meet; clauses, tactics and practices are wide but publishers do cite them."""
WARN_ONLY = frozenset({"nist-ai-rmf", "nist-ai-600-1"})
"""Their titles are sentences of which others print fragments, so a low score there is only a hint."""

_STOP = frozenset(re.findall(r"\w+", "a an and are as at by for from in is its of on or the their to via with within"))
_KEY = re.compile(r"^(?P<edition>[a-z0-9-]+@[^:@\s]+):(?P<id>.+)$")


@dataclass(frozen=True, slots=True)
class Problem:
    """One complaint about one reference."""

    path: Path
    line: int
    rule: str
    severity: str
    """`error` or `warning`."""
    control: str
    """As written in the file."""
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        hint = f"; write {self.suggestion}" if self.suggestion else ""
        return f"{self.path}:{self.line}: {self.rule} {self.severity}: `{self.control}` {self.message}{hint}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A control named in a file, with the label the file gives it."""

    line: int
    control: str
    label: str | None = None


def lint_file(path: Path, catalogs: Catalogs | None = None) -> list[Problem]:
    """All problems of a CSV, JSON or YAML file, in file order.

    CSV rows and JSON or YAML objects name a control in one of `control_key key control control_id id a_key b_key`, and
    may give its `label`, `title` or `name`; a `framework` column such as `iso-42001@2023` stands in for the edition in
    front of the id. In JSON and YAML the entries of `controls` are read too. Raises ConfigError when the file cannot
    be read or names no control at all.
    """
    catalogs = catalogs or load_catalogs()
    references = list(_references(path))
    if not references:
        raise ConfigError(f"no control found: name one in a field {', '.join(ID_FIELDS)}", path)
    return [
        Problem(path, ref.line, rule, severity, ref.control, message, suggestion)
        for ref in references
        for rule, severity, message, suggestion in _judge(catalogs, ref)
    ]


# -- reading ----------------------------------------------------------------------------------------------------------


def _references(path: Path) -> Iterator[Reference]:
    if path.suffix in (".yaml", ".yml"):
        data, lines = load_yaml(path)
        yield from _walk(data, (), lines)
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise ConfigError(f"cannot read the file: {e.strerror}", path) from None
    except UnicodeDecodeError:
        raise ConfigError("not valid UTF-8; save the file as UTF-8", path) from None
    if path.suffix == ".json":
        try:
            yield from _walk(json.loads(text), (), {})
        except json.JSONDecodeError as e:
            raise ConfigError(f"not valid JSON: {e.msg}", path, e.lineno) from None
    elif path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text))
        for row in reader:
            yield from _fields(row, reader.line_num)
    else:
        raise ConfigError("the linter reads .csv, .json, .yaml and .yml", path)


def _walk(value: Any, at: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int]) -> Iterator[Reference]:
    line = lines.get(at, 1)
    if isinstance(value, dict):
        yield from _fields(value, line)
        for key, child in value.items():
            if key == "controls" and isinstance(child, dict):
                yield from (Reference(lines.get((*at, key, k), line), str(k)) for k in child)
            elif key == "controls" and isinstance(child, list) and all(isinstance(k, str) for k in child):
                yield from (Reference(lines.get((*at, key, n), line), k) for n, k in enumerate(child))
            else:
                yield from _walk(child, (*at, key), lines)
    elif isinstance(value, list):
        for n, child in enumerate(value):
            yield from _walk(child, (*at, n), lines)


def _fields(row: Mapping[str, Any], line: int) -> Iterator[Reference]:
    label = next((str(row[f]) for f in LABEL_FIELDS if isinstance(row.get(f), str) and row[f].strip()), None)
    edition = row.get("framework")
    for name in ID_FIELDS:
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            continue
        written = value.strip()
        if isinstance(edition, str) and "@" in edition and "@" not in written:
            written = f"{edition}:{written}"
        yield Reference(line, written, label if name not in ("a_key", "b_key") else None)


# -- judging ----------------------------------------------------------------------------------------------------------

Complaint = tuple[str, str, str, str | None]


def _judge(catalogs: Catalogs, ref: Reference) -> Iterator[Complaint]:
    match = _KEY.match(ref.control)
    if match is None:
        yield "L5", "error", "names no edition", _with_edition(catalogs, ref.control)
        return
    edition, control_id = match["edition"], match["id"]
    if edition not in catalogs.editions:
        yield "L1", "error", f"is of {edition}, which is not among the catalogues", None
        return
    control = catalogs.controls.get(f"{edition}:{control_id}")
    if control is None:
        fixed = catalogs.controls.get(f"{edition}:{repaired(control_id)}")
        if fixed is None:
            yield _absent(catalogs, edition, control_id, ref.label)
            return
        yield "L9", "warning", "is a printed variant of the id", fixed.key
        control = fixed
    if control.superseded_by:
        yield "L4", "error", "was deleted", control.superseded_by
    elif control.kind in GROUPING:
        yield "L2", "error", f"is a heading ({control.kind}), not a control", None
    if ref.label:
        yield from _drift(catalogs, control, ref.label)


def _with_edition(catalogs: Catalogs, written: str) -> str | None:
    current = [e.name for e in catalogs.editions.values() if e.status != "superseded"]
    found = [f"{name}:{repaired(written)}" for name in current]
    return next((key for key in found if key in catalogs.controls), catalogs.retired.get(written))


def _absent(catalogs: Catalogs, edition: str, control_id: str, label: str | None) -> Complaint:
    """Why an id is not in the edition, from the most telling reason to the least."""
    if edition.startswith("mitre-atlas@") and control_id in catalogs.retired:
        return "L4", "error", "is retired", catalogs.retired[control_id]
    if edition.startswith("iso-42001@") and (m := re.fullmatch(r"(A\.\d+)\.1", control_id)):
        return "L2", "error", f"is the line with the objective of {m[1]}, not a control", None
    for end in range(len(control_id) - 1, 2, -1):
        base = catalogs.controls.get(f"{edition}:{control_id[:end]}")
        if base is not None and re.match(r"[-_/][A-Za-z]", control_id[end:]):
            return "L6", "error", f"adds `{control_id[end:]}` to an id; the framework has no such form", base.key
    if label and edition.startswith("eu-ai-act@"):
        best = max(_of_edition(catalogs, edition, "article"), key=lambda c: _jaccard(label, c.title))
        if _share(label, best.title) >= 50:
            return "L7", "error", "is another article than its label", best.key
    if (m := re.fullmatch(r"(.*\D)(\d+)", control_id)) and _has_later_sibling(catalogs, edition, m[1], int(m[2])):
        return "L8", "error", "is a number this edition skips", None
    return "L1", "error", f"does not exist in {edition}", None


def _has_later_sibling(catalogs: Catalogs, edition: str, stem: str, number: int) -> bool:
    keys = (key.removeprefix(f"{edition}:{stem}") for key in catalogs.controls if key.startswith(f"{edition}:{stem}"))
    return any(tail.isdigit() and not tail.startswith("0") and int(tail) > number > 0 for tail in keys)


def _drift(catalogs: Catalogs, control: Control, label: str) -> Iterator[Complaint]:
    severity = "warning" if control.framework in WARN_ONLY else "error"
    own = _jaccard(label, control.title)
    edition = f"{control.framework}@{control.version}"
    best = max(_of_edition(catalogs, edition, control.kind), key=lambda c: (_jaccard(label, c.title), c is control))
    better = best if _jaccard(label, best.title) > own else None
    if _share(label, control.title) < LIMIT.get(control.framework, 50) or better is not None:
        rule = "L7" if better is not None and control.kind == "article" else "L3"
        yield rule, severity, f"is `{control.title}`, not `{label}`", better.key if better else None


def _of_edition(catalogs: Catalogs, edition: str, kind: str) -> list[Control]:
    return [c for c in catalogs.controls.values() if c.kind == kind and c.key.startswith(f"{edition}:")]


@cache
def words(label: str) -> frozenset[str]:
    """Stems of a label: lower case, ML read as AI, without stop words, cut to five letters."""
    found = re.findall(r"[a-z0-9]+", label.lower().replace("machine learning", "ai"))
    return frozenset("ai" if w == "ml" else w[:5] for w in found if w not in _STOP)


def _share(a: str, b: str) -> int:
    x, y = words(a), words(b)
    return 100 * len(x & y) // max(1, min(len(x), len(y)))


def _jaccard(a: str, b: str) -> int:
    """Common share of all words of both labels, in ten-thousandths."""
    x, y = words(a), words(b)
    return 10_000 * len(x & y) // max(1, len(x | y))
