"""Themes and profiles: reviewed groups of controls that a finding kind counts as evidence toward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.mapping.catalog import HEADINGS, SIX, Catalogs, Control
from tasks.strict_yaml import Lines, load_yaml

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Theme:
    """One group: its controls of all frameworks, and the reason for each framework it leaves out."""

    theme_id: str
    name: str
    why: str
    keys: tuple[str, ...]
    none: Mapping[str, str]
    """Framework of the six -> reason why none of its controls fits."""
    profile: bool
    """A narrow group for hardening and governance checks; never published as an overlap."""

    @property
    def rationale(self) -> str:
        return f"{self.name}: {self.why}"


def group_of(framework: str) -> str:
    """The one of the six that a framework code belongs to. Raises KeyError for a framework outside the six."""
    return _GROUP[framework]


_GROUP = {part: group for group, parts in SIX.items() for part in parts}


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file read strictly: every complaint names path and line."""

    path: Path
    data: Any
    lines: Lines

    def error(self, message: str, *at: str | int) -> ConfigError:
        where: Where = at
        while where and where not in self.lines:
            where = where[:-1]
        return ConfigError(message, self.path, self.lines.get(where))

    def fields(self, value: Any, allowed: set[str], required: set[str], *at: str | int) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(f"must be a mapping with {', '.join(sorted(allowed))}", *at)
        for key in value:
            if key not in allowed:
                raise self.error(f"unknown key `{key}`; known here: {', '.join(sorted(allowed))}", *at, key)
        if missing := sorted(required - set(value)):
            raise self.error(f"`{missing[0]}` is missing", *at)
        return value

    def text(self, value: Any, *at: str | int) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self.error("must be a sentence, not empty", *at)
        return value.strip()

    def control(self, catalogs: Catalogs, key: Any, *at: str | int) -> Control:
        """A key as a control that may be mapped: of the six, in its default edition, neither heading nor deleted."""
        try:
            control = catalogs.find(str(key))
        except ConfigError as e:
            raise self.error(str(e), *at) from None
        if control.framework not in _GROUP:
            raise self.error(f"`{key}` is not of one of the six frameworks", *at)
        if control.superseded_by:
            raise self.error(f"`{key}` was deleted; write {control.superseded_by}", *at)
        if control.kind in HEADINGS or catalogs.edition_of(control.key).status == "superseded":
            raise self.error(f"`{key}` is a heading or a superseded edition; name a control below or after it", *at)
        return control

    def reasons(self, value: Any, *at: str | int) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self.error("`none` maps a framework to the reason", *at)
        for group in value:
            if group not in SIX:
                raise self.error(f"`{group}` is not one of the six: {', '.join(SIX)}", *at, group)
        return {group: self.text(reason, *at, group) for group, reason in value.items()}


def read_document(path: Path) -> Document:
    data, lines = load_yaml(path)
    return Document(path, data, lines)


def load_themes(catalogs: Catalogs, root: Path) -> dict[str, Theme]:
    """Themes and profiles of `themes.yaml` by id. Raises ConfigError with path and line."""
    doc = read_document(root / "themes.yaml")
    top = doc.fields(doc.data, {"reviewer", "themes", "profiles"}, {"reviewer", "themes", "profiles"})
    doc.text(top["reviewer"], "reviewer")
    themes: dict[str, Theme] = {}
    for section in ("themes", "profiles"):
        for theme_id, entry in doc.fields(top[section], set(top[section]), set(), section).items():
            at = (section, theme_id)
            if theme_id in themes:
                raise doc.error(f"`{theme_id}` is both a theme and a profile", *at)
            doc.fields(entry, {"name", "why", "controls", "none"}, {"name", "why", "controls"}, *at)
            if not isinstance(entry["controls"], list) or not entry["controls"]:
                raise doc.error("`controls` is a list of control keys", *at, "controls")
            keys = [doc.control(catalogs, key, *at, "controls", n).key for n, key in enumerate(entry["controls"])]
            themes[theme_id] = Theme(
                theme_id,
                doc.text(entry["name"], *at, "name"),
                doc.text(entry["why"], *at, "why"),
                tuple(keys),
                doc.reasons(entry.get("none", {}), *at, "none"),
                section == "profiles",
            )
    return themes
