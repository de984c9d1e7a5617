"""Settings: flag > environment > `aispm.toml` > default. Secrets appear only as references."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

from tasks.errors import ConfigError
from tasks.judging.independence import judging_problems
from tasks.judging_settings import JudgingSettings

CONTENT_ROOT = Path(__file__).resolve().parent.parent
"""The checkout: home of `sql/`, `probes/` and `mappings/`."""
PROBES = CONTENT_ROOT / "probes"
MAPPINGS = CONTENT_ROOT / "mappings"


@dataclass(frozen=True, slots=True)
class AwsSettings:
    enabled: bool = False
    regions: tuple[str, ...] = ("eu-central-1",)
    endpoint_url: str | None = None
    """Set to read another endpoint than AWS itself, such as a test double; results are then labelled as a fake's."""


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    timeout_s: float = 10.0
    """Of one request of a source."""
    aws: AwsSettings = field(default_factory=AwsSettings)


@dataclass(frozen=True, slots=True)
class ProbingSettings:
    families: tuple[str, ...] = ()
    """Family ids to run; empty = all that fit."""
    folder: Path | None = None
    """A folder with your own families, read beside the built-in ones."""
    templates_per_family: int = 6
    """Of the nightly run; the weekly run takes all."""
    trials: int = 1
    concurrency: int = 8
    """Requests in flight per target."""
    timeout_s: float = 20.0
    batch_size: int = 1_000
    """Attempts in one task run and one lake commit."""
    max_requests: int = 20_000
    """Of a whole campaign, repeated ones included. What would pass a limit is not sent; the run ends incomplete."""
    max_tokens: int | None = None
    max_usd: float | None = None
    """Needs `prices`: a model without a known price is refused."""
    prices: Path | None = None
    """A dated table of prices, see `prices.example.yaml`."""
    requests_per_minute: int | None = None
    """Per target (address and credential); `props: {limits: …}` of an asset wins."""
    tokens_per_minute: int | None = None
    seed: int | None = None
    """Fixes the canaries; leave unset in production so that no target can learn them."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    spool: str | None = None
    """Folder of a gateway's closed log segments to ingest."""
    url: str | None = None


@dataclass(frozen=True, slots=True)
class OrchestratorSettings:
    engine: str = "prefect"
    """`prefect`, or `plain` for the same steps without an orchestrator."""


@dataclass(frozen=True, slots=True)
class Settings:
    home: Path = Path(".aispm")
    inventory: Path = Path("inventory.yaml")
    demo: bool = False
    discovery: DiscoverySettings = field(default_factory=DiscoverySettings)
    probing: ProbingSettings = field(default_factory=ProbingSettings)
    judging: JudgingSettings = field(default_factory=JudgingSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    orchestrator: OrchestratorSettings = field(default_factory=OrchestratorSettings)

    @property
    def lake(self) -> Path:
        return self.home / "lake"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    @property
    def spool(self) -> Path:
        return self.home / "spool"


def load_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Read `aispm.toml` (or `path`), then `AISPM_HOME` and `AISPM_INVENTORY`, then `overrides` that are not None.

    Relative paths in the file are taken from the file's folder. Raises ConfigError with file and line on unknown
    keys, wrong types or broken TOML.
    """
    file = path or Path(os.environ.get("AISPM_CONFIG", "aispm.toml"))
    settings = Settings()
    if file.exists():
        text = file.read_text(encoding="utf-8")
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as e:
            # Python tells the line in words only ("at line 3, column 9", "at end of document").
            at = re.search(r"at line (\d+)", str(e))
            line = int(at[1]) if at else len(text.splitlines())
            raise ConfigError(f"not valid TOML: {e}; correct this line", file, line) from None
        settings = _build(Settings, data, file, text, "")
        base = file.resolve().parent
        settings = replace(settings, home=base / settings.home, inventory=base / settings.inventory)
        if settings.gateway.spool is not None:
            settings = replace(settings, gateway=replace(settings.gateway, spool=str(base / settings.gateway.spool)))
        if settings.probing.folder is not None:
            settings = replace(settings, probing=replace(settings.probing, folder=base / settings.probing.folder))
        if settings.probing.prices is not None:
            settings = replace(settings, probing=replace(settings.probing, prices=base / settings.probing.prices))
    elif path is not None:
        raise ConfigError("no such file; `aispm init` writes one", path)
    chosen: dict[str, Any] = {"home": os.environ.get("AISPM_HOME"), "inventory": os.environ.get("AISPM_INVENTORY")}
    chosen.update({name: value for name, value in overrides.items() if value is not None})
    for name, value in chosen.items():
        if value:
            typed: Any = Path(value) if name in ("home", "inventory") else value
            settings = replace(settings, **{name: typed})
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    for name, problem in judging_problems(settings.judging, datetime.now(UTC).date()):
        raise ConfigError(f"`{name}`: {problem}", file, _nearest_line(text, name))
    if settings.orchestrator.engine not in ("plain", "prefect"):
        raise ConfigError("orchestrator.engine must be `plain` or `prefect`", file)
    return settings


def with_limits(settings: Settings, limits: Mapping[str, int | float | None]) -> Settings:
    """`settings` with the given limits of the probing budget; None leaves one as it is."""
    given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    return replace(settings, probing=replace(settings.probing, **given))


def described(settings: Settings, path: Path | None = None, *, home: Path | None = None) -> dict[str, tuple[str, str]]:
    """Every setting by its dotted name: its value, and where that comes from. `home` is the one given as an option."""
    file = path or Path(os.environ.get("AISPM_CONFIG", "aispm.toml"))
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found: dict[str, tuple[str, str]] = {}

    def walk(value: Any, given: dict[str, Any], prefix: str) -> None:
        for f in fields(value):
            name, held = f"{prefix}{f.name}", getattr(value, f.name)
            if is_dataclass(held):
                walk(held, given.get(f.name, {}), f"{name}.")
                continue
            if isinstance(held, Mapping):
                for key, one in held.items():
                    walk(one, given.get(f.name, {}).get(key, {}), f"{name}.{key}.")
                continue
            origin = f"{file}:{_line(text, name)}" if f.name in given else "default"
            shown = [str(v) for v in held] if isinstance(held, tuple) else held
            found[name] = ("" if shown is None else str(shown), origin)

    walk(settings, tomllib.loads(text), "")
    for name, option in (("home", home), ("inventory", None)):
        variable = os.environ.get(f"AISPM_{name.upper()}")
        if variable:
            found[name] = (found[name][0], f"environment AISPM_{name.upper()}")
        if option is not None and str(option) != variable:
            found[name] = (found[name][0], f"--{name}")
    return found


def _build(cls: type, data: dict[str, Any], file: Path, text: str, prefix: str) -> Any:
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            options = ", ".join(sorted(known))
            raise ConfigError(
                f"unknown setting `{prefix}{key}`; known here: {options}", file, _line(text, f"{prefix}{key}")
            )
        hint = hints[key]
        if is_dataclass(hint) and isinstance(hint, type):
            if not isinstance(value, dict):
                raise ConfigError(
                    f"`{prefix}{key}` is a table: write [{prefix}{key}]", file, _line(text, f"{prefix}{key}")
                )
            values[key] = _build(hint, value, file, text, f"{prefix}{key}.")
        elif getattr(hint, "__origin__", None) is Mapping:
            if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
                raise ConfigError(
                    f"`{prefix}{key}` is a table of tables: write [{prefix}{key}.NAME]",
                    file,
                    _line(text, f"{prefix}{key}"),
                )
            kind = get_args(hint)[1]
            values[key] = {n: _build(kind, v, file, text, f"{prefix}{key}.{n}.") for n, v in value.items()}
        else:
            values[key] = _coerce(hint, value, f"{prefix}{key}", file, text)
    return cls(**values)


def _coerce(hint: Any, value: Any, name: str, file: Path, text: str) -> Any:
    wanted = [t for t in get_args(hint) if t is not type(None)] if type(None) in get_args(hint) else [hint]
    kind = wanted[0]
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if (
        getattr(kind, "__origin__", None) is tuple
        and isinstance(value, list)
        and all(isinstance(v, str) for v in value)
    ):
        return tuple(value)
    if kind is date and isinstance(value, datetime):
        value = value.date()
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        may_be_0 = name.endswith(
            ("probing.seed", ".temperature", ".usd_per_million_in", ".usd_per_million_out", ".audit_share")
        )
        if isinstance(value, int | float) and value <= 0 and kind is not bool and not may_be_0:
            raise ConfigError(f"`{name}` must be greater than 0", file, _line(text, name))
        return value
    raise ConfigError(f"`{name}` has the wrong type: {value!r}", file, _line(text, name))


def _line(text: str, name: str) -> int | None:
    """Where the setting of this dotted name is written: its line, or that of its table."""
    key = name.rpartition(".")[2]
    inline = (n for n, line in enumerate(text.splitlines(), 1) if key in line)
    return _written(text, name) or next(inline, None)


def _written(text: str, name: str) -> int | None:
    """As `_line`, for what stands on a line of its own."""
    table, _, key = name.rpartition(".")
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            here = stripped.partition("]")[0].strip("[ ")
            if here == name or here.startswith(f"{name}."):
                return number
        elif here == table and stripped.partition("=")[0].strip() == key:
            return number
    return None


def _nearest_line(text: str, name: str) -> int | None:
    """The line of the setting, or of the closest table around it that is written."""
    while name and (line := _written(text, name)) is None:
        name = name.rpartition(".")[0]
    return line if name else None
