"""A gateway's policy on disk: the published folder that it reads, and its own memory of what it accepted.

The published folder holds `policy.json` and `root.<version>.json`, each with its signatures beside it as `<name>.sig`.
The memory is one file, replaced whole: roots, policy and counters of one moment, whatever process dies in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from gateway.durable import replace_durably
from gateway.errors import AispmError, ConfigError
from gateway.policy import bundle, root
from gateway.policy.bundle import Policy
from gateway.policy.chain import Document, Memory, TrustedSet, remember
from gateway.policy.refused import PolicyError
from gateway.policy.trust import MAX_SIGNATURE_BYTES, parse_key

STATE_SCHEMA = "aispm.policy_state/1"


T = TypeVar("T")


class Source(Protocol):
    """Where documents come from. Both raise ConfigError or PolicyError when they cannot be read."""

    def root(self, version: int) -> Document | None:
        """That version of the root; None when there is none."""

    def policy(self) -> Document:
        """The newest policy."""


@dataclass(frozen=True, slots=True)
class PublishedFolder:
    """`file` is the policy; newer roots lie beside it."""

    file: Path

    def root(self, version: int) -> Document | None:
        path = self.file.with_name(f"root.{version}.json")
        return read_document(path, root.MAX_BYTES) if path.exists() else None

    def policy(self) -> Document:
        return read_document(self.file, bundle.MAX_BYTES)


def read_public_keys(paths: Sequence[Path]) -> list[bytes]:
    """The keys in files of 64 hex digits. Raises ConfigError when a file is unreadable or not a key."""
    keys = []
    for path in paths:
        try:
            keys.append(parse_key(path.read_text(encoding="ascii"), str(path)))
        except (OSError, UnicodeError) as e:
            raise ConfigError(f"cannot read the public key ({e.__class__.__name__})", path) from None
    return keys


def read_document(path: Path, limit: int) -> Document:
    """A document of at most `limit` bytes and its signatures. Raises ConfigError or PolicyError."""
    return Document(_read(path, limit), _read(Path(f"{path}.sig"), MAX_SIGNATURE_BYTES))


def load_policy(
    source: Source | None,
    installed: Path,
    gateway_id: str,
    state: Path,
    now: datetime,
    use: Callable[[Policy], T],
) -> T:
    """What `use` makes of the policy that `source` offers, verified from the installed root on, for this gateway and
    `now`; without a source, of the policy that `state` remembers.

    `use` may refuse the policy too. Only then is it remembered in `state` (fsynced), in one write with the roots that
    lead to it, so that a crash can neither forget it nor leave the gateway with one that it cannot enforce. New roots
    are remembered also when the policy beside them is refused. Raises PolicyError, ConfigError (files missing), or
    what `use` raises.
    """
    memory = read_memory(state)
    trusted = TrustedSet(read_document(installed, root.MAX_BYTES))
    for step in memory.roots.values() if memory else ():
        if parse_version(step) == trusted.root.version + 1:
            trusted.update_root(step)
    if memory is not None:
        memory.check_root(trusted.root)
    known_root = trusted.root.version
    try:
        while source is not None and (newer := source.root(trusted.root.version + 1)) is not None:
            trusted.update_root(newer)
        document = _remembered(memory, state) if source is None else source.policy()
        policy = trusted.policy(document, gateway_id, now)
        if memory is not None:
            memory.check_policy(policy)
        made = use(policy)
    except AispmError:
        if trusted.root.version > known_root:
            _remember(state, trusted, None, None)
        raise
    if memory is None or (policy.epoch, policy.version, trusted.root.version) != (
        memory.epoch,
        memory.version,
        memory.root_version,
    ):
        _remember(state, trusted, policy, document)
    return made


def _remembered(memory: Memory | None, state: Path) -> Document:
    if memory is None or memory.policy is None:
        raise ConfigError("no policy was accepted yet", state)
    return memory.policy


def _remember(state: Path, trusted: TrustedSet, policy: Policy | None, document: Document | None) -> None:
    """Write the memory, unless another worker of this gateway has meanwhile seen something newer. Raises ConfigError
    when the disk refuses: a policy that cannot be remembered could be rolled back after a restart."""
    try:
        with _alone(state):
            memory = read_memory(state)
            if memory is not None:
                memory.check_root(trusted.root)
                if policy is not None:
                    memory.check_policy(policy)
            write_memory(state, remember(memory, trusted, policy, document))
    except OSError as e:
        raise ConfigError(f"cannot remember the policy: {e.strerror}", state) from None


def parse_version(document: Document) -> int:
    """The version that a remembered root claims. It was verified before, and is again."""
    return root.parse_root(document.raw).version


def read_memory(state: Path) -> Memory | None:
    """What was accepted so far; None before the first policy. Raises PolicyError when the file is damaged."""
    try:
        data = json.loads(state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        _damaged(state)
    try:
        if data["schema"] != STATE_SCHEMA:
            _damaged(state)
        roots = [_document(entry) for entry in data["roots"]]
        return Memory(
            tenant=str(data["tenant"]),
            root_version=int(data["root_version"]),
            root_sha256=str(data["root_sha256"]),
            epoch=int(data["epoch"]),
            version=int(data["version"]),
            sha256=str(data["sha256"]),
            roots={parse_version(step): step for step in roots},
            policy=None if data["policy"] is None else _document(data["policy"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, PolicyError):
        _damaged(state)


def write_memory(state: Path, memory: Memory) -> None:
    """Replace the memory; after a crash either the old or the new one is there."""
    data = {
        "schema": STATE_SCHEMA,
        "tenant": memory.tenant,
        "root_version": memory.root_version,
        "root_sha256": memory.root_sha256,
        "epoch": memory.epoch,
        "version": memory.version,
        "sha256": memory.sha256,
        "roots": [_entry(step) for step in memory.roots.values()],
        "policy": None if memory.policy is None else _entry(memory.policy),
    }
    replace_durably(state, json.dumps(data).encode())


def _entry(document: Document) -> dict[str, str]:
    # Both are UTF-8 text, or they would not have been accepted.
    return {"document": document.raw.decode(), "signatures": document.signatures.decode()}


def _document(entry: Mapping[str, Any]) -> Document:
    return Document(entry["document"].encode(), entry["signatures"].encode())


def _damaged(state: Path) -> NoReturn:
    raise PolicyError(
        "memory", f"{state} is damaged, so a rollback could not be noticed; restore it, or remove it knowingly"
    ) from None


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as f:
            raw = f.read(limit + 1)
    except OSError as e:
        raise ConfigError(f"cannot read the policy: {e.strerror}", path) from None
    if len(raw) > limit:
        raise PolicyError("size", f"{path.name} has more than {limit} bytes; it is not read")
    return raw


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Workers of one gateway share the memory: one at a time compares and writes."""
    fd = os.open(state.with_name(f"{state.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
