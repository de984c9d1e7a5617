"""`aispm verify`: reports by file, runs by the lake. Offline, with the public key alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nacl.signing import VerifyKey

from flows.closing import inert
from gateway.policy.files import read_public_keys
from gateway.verify_log import LogReport, verify_log
from tasks.errors import ConfigError, VerificationError
from tasks.evidence import verify_lake
from tasks.lake import Lake
from tasks.reporting.signing import load_public_key
from tasks.reporting.signing import verify_file as verify_signed_file
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Proof:
    ok: bool
    checked: str
    problems: tuple[str, ...]


def verify_file(path: Path, key: Path | None) -> Proof:
    """A report file against its `.sig`. Without `--key` nothing is proven: the auditor brings the key."""
    if key is None:
        raise ConfigError("give the public key with --key; a key that lies beside the report proves nothing by itself")
    if not path.is_file():
        raise VerificationError(f"{path}: no such file")
    result = verify_signed_file(path, _public(key))
    problems = tuple(inert(problem) for problem in result.problems)
    return Proof(result.status == "ok", "; ".join([path.name, *map(inert, result.notes)]), problems)


def verify_runs(settings: Settings, key: Path | None, run_id: str | None) -> Proof:
    """Every row of the sealed runs (or of one) in the lake against the signed, chained roots."""
    path = key or settings.keys / "aispm.pub"
    lake = Lake(settings.lake)
    checked, problems = verify_lake(lake, VerifyKey(_public(path)), [run_id] if run_id else [])
    lines = tuple(inert(f"{p.status}: {p.where}: {p.detail}") for p in problems)
    return Proof(not lines, f"{checked} rows of {run_id or 'all sealed runs'} (unanchored)", lines)


def verify_gateway_log(path: Path, key: Path | None) -> LogReport:
    """A gateway's spool folder or one of its segments; with `key` (64 hex digits) also the signatures."""
    return verify_log(path, None if key is None else read_public_keys([key])[0])


def _public(path: Path) -> bytes:
    try:
        return load_public_key(path)
    except (OSError, ValueError) as e:
        raise ConfigError(f"not a usable public key: {e}", path) from None
