"""Checks of content and policies that the command line offers."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.policy.bundle import sign_bundle, verify_bundle
from gateway.policy.files import read_public_keys
from gateway.policy.trust import new_keypair, parse_key
from tasks.errors import ConfigError
from tasks.probing.catalog import load_families
from tasks.probing.selftest import run_selftests


def lint_probes(folder: Path | None) -> str:
    """Load every family and replay its examples. Raises ConfigError with path and line, or naming what disagrees."""
    families = load_families(extra_folder=folder)
    results = run_selftests(families)
    wrong = [str(result) for result in results if not result.passed]
    if wrong:
        raise ConfigError(f"{len(wrong)} selftests disagree: " + "; ".join(wrong[:10]))
    return f"ok: {len(families)} families, {len(results)} selftests agree"


def sign_policy(bundle: Path, key: Path) -> str:
    """Sign `bundle` into `<bundle>.sig`; a missing key is made, with its public half beside it."""
    if not bundle.is_file():
        raise ConfigError("no such policy bundle", bundle)
    made = ""
    if not key.exists():
        pair = new_keypair()
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as handle:
            handle.write(pair.private.hex() + "\n")
        key.with_suffix(".pub").write_text(pair.public.hex() + "\n", encoding="ascii")
        made = f"made {key} and {key.with_suffix('.pub')}; "
    signature = sign_bundle(bundle.read_bytes(), parse_key(key.read_text(encoding="ascii"), str(key)))
    Path(f"{bundle}.sig").write_bytes(signature)
    return f"{made}signed {bundle} by key {signature.split()[1].decode()}"


def verify_policy(bundle: Path, key: Path) -> str:
    """Read a signed bundle as a gateway would. Raises VerificationError when it does not hold."""
    signature = Path(f"{bundle}.sig")
    if not bundle.is_file() or not signature.is_file():
        raise ConfigError(f"{bundle} and {signature.name} must both be there", bundle)
    policy = verify_bundle(bundle.read_bytes(), signature.read_bytes(), read_public_keys([key]))
    return f"ok: version {policy.version} for {', '.join(policy.audience)}, expires {policy.expires:%Y-%m-%d}"
