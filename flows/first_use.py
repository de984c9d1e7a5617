"""`aispm init` and `aispm doctor`: from a checkout to the first run on an estate of one's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from gateway.secrets import resolve_secret
from tasks.discovery.inventory import load_inventory
from tasks.errors import AispmError, ConfigError
from tasks.judging.independence import judging_warnings, uses_live_judges
from tasks.mapping.catalog import load_catalogs
from tasks.mapping.resolve import load_kinds
from tasks.probing.catalog import load_families
from tasks.reporting.signing import create_keypair
from tasks.settings import Settings

SETTINGS = """\
# Settings of aispm; every key has a default. `aispm doctor --show-config` prints them all.
home = ".aispm"
inventory = "inventory.yaml"

[probing]
templates_per_family = 4   # of the nightly run; the weekly run takes all
concurrency = 4            # requests in flight per target
max_requests = 2000        # of one run, a hard limit

[orchestrator]
engine = "plain"           # "prefect" for schedules, retries and its interface
"""

INVENTORY = """\
# What you run, who owns it, and what aispm may touch. Secrets are references (env:NAME, file:PATH), never values.
schema: aispm.inventory/1
assets:
  - id: llm/first
    kind: llm_endpoint
    name: {name}
    owner: {owner}
    env: test
    exposure: internal
    risk_tier: limited
    active: true             # allows requests beyond listing: probes and active checks
    keys:
      url: {url}
    props:
      wire_format: openai_chat
      model: {model}
      credential: "{credential}"
"""


def write_first_files(folder: Path, *, url: str | None, model: str | None, credential: str) -> list[str]:
    """Write settings, inventory and keys that are not there yet; a line for each.

    Raises ConfigError for a URL that is not http(s) or a credential that is not a reference.
    """
    if url is not None and urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"--url must start with http:// or https://, not {url!r}")
    if credential.partition(":")[0] not in ("env", "file"):
        raise ConfigError("--credential names where the key lies (env:NAME or file:PATH), never the key itself")
    address = url or "http://127.0.0.1:11434/v1"
    inventory = INVENTORY.format(
        name=urlsplit(address).hostname,
        owner=f"{os.environ.get('USER') or 'you'}@example.org",
        url=f'"{address}"',
        model=f'"{model or "your-model"}"',
        credential=credential,
    )
    lines = []
    for name, text in (("aispm.toml", SETTINGS), ("inventory.yaml", inventory)):
        path = folder / name
        if path.exists():
            lines.append(f"kept    {name} (it exists)")
        else:
            path.write_text(text, encoding="utf-8")
            lines.append(f"wrote   {name}")
    keys = folder / ".aispm" / "keys"
    if (keys / "aispm.key").exists():
        lines.append("kept    .aispm/keys/aispm.key (it exists)")
    else:
        create_keypair(keys, "aispm")
        lines.append("wrote   .aispm/keys/aispm.key and aispm.pub; keep a copy of the .pub elsewhere")
    lines.append("next    edit inventory.yaml, then: aispm doctor && aispm run nightly")
    return lines


def diagnose(settings: Settings, config: Path | None) -> list[tuple[str, bool, str]]:
    """(what, whether it is fine, detail) for everything a run needs."""
    found: list[tuple[str, bool, str]] = []
    file = config or Path("aispm.toml")
    found.append(("settings", file.exists(), str(file) if file.exists() else f"{file} is missing: run `aispm init`"))
    for what, load in (
        ("probes", lambda: f"{len(load_families(extra_folder=settings.probing.folder))} families"),
        ("mappings", lambda: f"{len(load_kinds(load_catalogs()))} finding kinds"),
        ("disk", lambda: _disk(settings.home)),
    ):
        found.append(_tried(what, load))
    found += _judges(settings)
    key = settings.keys / "aispm.key"
    found.append(("signing key", key.exists(), str(key) if key.exists() else f"{key} is missing: run `aispm init`"))
    try:
        inventory = load_inventory(settings.inventory)
    except (AispmError, OSError) as e:
        return [*found, ("inventory", False, str(e))]
    found.append(("inventory", True, f"{len(inventory.assets)} assets"))
    for asset in inventory.assets:
        reference = asset.props.get("credential")
        if reference:
            found.append(_tried(f"credential of {asset.id}", partial(_resolved, reference)))
        if asset.active and asset.url and (not reference or found[-1][1]):
            listing = "/models" if "wire_format" in asset.props else ""
            found.append(_tried(f"reach {asset.id}", partial(_reach, asset.url.rstrip("/") + listing, reference)))
    return found


def _judges(settings: Settings) -> list[tuple[str, bool, str]]:
    """Keys of the live judges, and what should be known of them; nothing is sent to a provider."""
    judging = settings.judging
    found = [("judges", True, warning) for warning in judging_warnings(judging)]
    if not uses_live_judges(judging):
        return found
    for name, judge in (*judging.judges.items(), ("meta", judging.meta)):
        if judge.key:
            found.append(_tried(f"key of judge {name}", partial(_resolved, judge.key)))
    return found


def _tried(what: str, load: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return what, True, load()
    except (AispmError, OSError, httpx.HTTPError) as e:
        return what, False, f"{type(e).__name__}: {e}" if isinstance(e, httpx.HTTPError) else str(e)


def _resolved(reference: str) -> str:
    resolve_secret(reference)
    return "found"


def _disk(home: Path) -> str:
    at = home if home.exists() else Path.cwd()
    free = shutil.disk_usage(at).free // 2**20
    if free < 500:
        raise ConfigError(f"only {free} MiB free; the lake needs at least 500 MiB", at)
    return f"{free} MiB free"


def _reach(url: str, reference: str | None) -> str:
    headers = {"Authorization": f"Bearer {resolve_secret(reference)}"} if reference else {}
    with httpx.stream("GET", url, headers=headers, timeout=5, follow_redirects=False) as reply:
        status = f"HTTP {reply.status_code} from {url}"
    if reply.status_code in (401, 403):
        raise ConfigError(f"{status}: " + ("the credential is refused" if reference else "it asks for a credential"))
    if reply.status_code >= 500:
        raise ConfigError(f"{status}: the service is not well")
    return status
