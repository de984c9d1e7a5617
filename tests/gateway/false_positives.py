"""Bodies that hold no secret: real text and code of this machine, none of it written for the patterns.

Cut from Python's standard library, the documentation and licences of the system's packages, and the metadata, readmes
and licences of the installed Python packages. Test suites are left out: they hold private keys and card numbers on
purpose; so are the readmes of libraries for JSON web tokens, which show whole ones. What a machine lacks is left out
too, so the corpus differs a little from one to the next.
"""

from __future__ import annotations

import gzip
import random
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

from gateway.fields import REQUEST, Fields
from gateway.filter import Inspection, RuleSet
from gateway.pattern_files import load_patterns
from gateway.policy.bundle import compose_bundle, hash_agent_key, new_hash_key, new_keypair, sign_bundle, verify_bundle

MIN_BYTES, MAX_BYTES = 1024, 4096
PIECES_OF_A_FILE = 3
"""At most: one odd file must not count often, nor a large one hide the others."""
_MAX_FILE = 2 << 20
_LIBRARY, _PACKAGES = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
_SYSTEM = (Path("/usr/share/doc"), Path("/usr/share/common-licenses"))
_SUFFIXES = frozenset({".txt", ".md", ".rst", ".html", ".gz", ".py", ".c", ".h", ".pl", ".sh", ".conf", ".json", ""})
_ABOUT = ("METADATA", "LICENSE", "README", "NOTICE", "AUTHORS")
_TOKENS = re.compile("jwt|joserfc|jose-")
_TESTS = frozenset({"test", "tests", "idle_test", "site-packages"})


class Body(NamedTuple):
    """`source`: file and offset, to look a hit up."""

    source: str
    text: str


class Found(NamedTuple):
    """What a number of bodies gave."""

    bodies: int
    secret: int
    """Bodies in which something of any class but `pii` is found."""
    personal: int
    """Bodies in which something of the class `pii` is found, besides e-mail addresses."""
    mail: int
    """Bodies with an e-mail address: those of authors and maintainers, which are what the pattern looks for."""
    by_pattern: Counter[str]
    sources: tuple[tuple[str, str], ...]
    """(pattern, source) of each hit besides e-mail addresses."""


@cache
def files() -> dict[str, tuple[Path, ...]]:
    """The files of each kind, in an order that does not depend on the file system."""
    kinds: dict[str, Iterable[Path]] = {
        "standard library": (p for p in _LIBRARY.rglob("*.py") if not _TESTS & set(p.relative_to(_LIBRARY).parts)),
        "system documentation": (p for folder in _SYSTEM for p in folder.rglob("*") if p.suffix in _SUFFIXES),
        "package metadata": (p for p in _PACKAGES.rglob("*") if p.name.startswith(_ABOUT)),
    }
    readable = {
        kind: tuple(sorted(p for p in found if not _TOKENS.search(str(p)) and p.is_file() and _fits(p.stat().st_size)))
        for kind, found in kinds.items()
    }
    return {kind: found for kind, found in readable.items() if found}


def _fits(size: int) -> bool:
    return MIN_BYTES <= size <= _MAX_FILE


def bodies(count: int, seed: int = 0) -> list[Body]:
    """`count` different pieces of 1 to 4 KiB, as many of each kind of file; the same ones for the same `seed`."""
    drawn, chosen = random.Random(seed), []
    kinds = files()
    for paths in kinds.values():
        wanted = -(-count // len(kinds))
        for path in drawn.sample(paths, len(paths)):
            pieces = list(_pieces(path))
            taken = drawn.sample(pieces, min(len(pieces), PIECES_OF_A_FILE, wanted))
            chosen += taken
            wanted -= len(taken)
            if not wanted:
                break
    return chosen[:count]


def _pieces(path: Path) -> Iterator[Body]:
    """A file cut into pieces, whose sizes depend on its name only."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text, sizes, at = raw[:_MAX_FILE].decode("utf-8", "replace"), random.Random(path.name), 0
    while len(text) - at >= MIN_BYTES:
        size = sizes.randint(MIN_BYTES, MAX_BYTES)
        yield Body(f"{path}:{at}", text[at : at + size])
        at += size


@cache
def default_rules() -> RuleSet:
    """All built-in patterns with their own actions."""
    keys, hash_key, now = new_keypair(), new_hash_key(), datetime.now(UTC)
    raw = compose_bundle(
        tenant="t",
        audience=["g"],
        version=1,
        issued=now,
        expires=now + timedelta(days=1),
        hash_key=hash_key,
        agents=[{"id": "a", "key_hash": hash_agent_key(hash_key, "k")}],
    )
    return RuleSet.build(verify_bundle(raw, sign_bundle(raw, keys.private), [keys.public]), load_patterns())


def found_in(text: str) -> set[str]:
    """The ids of the patterns that are found in a message of this text, in every view of it."""
    inspection, fields = Inspection(default_rules(), "a"), Fields(REQUEST)
    fields.text([text], 0, "user")
    inspection.scan(fields)
    return {match.pattern.id for match in inspection.matches}


def measure(sample: Iterable[Body]) -> Found:
    """Count the bodies in which something is found."""
    personal_ids = {p.id for p in load_patterns() if p.category == "pii"}
    total = secret = personal = mail = 0
    by_pattern: Counter[str] = Counter()
    sources: list[tuple[str, str]] = []
    for body in sample:
        hits = found_in(body.text)
        total += 1
        mail += "email" in hits
        secret += bool(hits - personal_ids)
        personal += bool((hits & personal_ids) - {"email"})
        by_pattern.update(hits)
        sources += [(hit, body.source) for hit in sorted(hits - {"email"})]
    return Found(total, secret, personal, mail, by_pattern, tuple(sources))
