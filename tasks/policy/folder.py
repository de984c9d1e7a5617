"""Files of a signing folder.

draft.json    what the next publication says; people edit it
keys/         private keys made here, mode 0600; holders who keep theirs elsewhere have none here
pending/      a root that lacks signatures
published/    what gateways read and the policy server serves
history/      every publication, <epoch>.<version>.json
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.durable import replace_durably
from gateway.policy import root as roots
from gateway.policy.chain import Document, TrustedSet
from gateway.policy.files import read_document
from gateway.policy.root import Root
from gateway.policy.trust import KeyPair, key_id, key_pair, new_keypair, parse_key
from tasks.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Folder:
    """A signing folder at `path`."""

    path: Path

    @property
    def draft(self) -> Path:
        return self.path / "draft.json"

    @property
    def root_key(self) -> Path:
        return self.path / "keys" / "root.key"

    def policy_key(self, root: Root) -> Path | None:
        """A private key made here that `root` lets sign policies."""
        for path in sorted((self.path / "keys").glob("policy*.key")):
            if read_private_key(path).public in root.policy_keys:
                return path
        return None

    @property
    def published(self) -> Path:
        return self.path / "published"

    @property
    def policy(self) -> Path:
        return self.published / "policy.json"

    def pending_root(self, version: int) -> Path:
        return self.path / "pending" / f"root.{version}.json"

    def published_root(self, version: int) -> Path:
        return self.published / f"root.{version}.json"

    def publication(self, epoch: int, version: int) -> Path:
        return self.path / "history" / f"{epoch}.{version}.json"

    def publications(self) -> list[Path]:
        """All that were made, in no order."""
        return list((self.path / "history").glob("*.*.json"))

    def trusted(self) -> TrustedSet:
        """Every published root, walked as a gateway does. Raises ConfigError before the first one, PolicyError."""
        if not self.published_root(1).exists():
            raise ConfigError("there is no published root; `aispm policy init` makes one", self.path)
        trusted = TrustedSet(read_document(self.published_root(1), roots.MAX_BYTES))
        while (path := self.published_root(trusted.root.version + 1)).exists():
            trusted.update_root(read_document(path, roots.MAX_BYTES))
        return trusted

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Two commands at once would give out one version twice."""
        self.path.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def write_document(path: Path, document: Document) -> None:
    """Signatures first: until the document itself is replaced, the pair does not verify and nobody takes it over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(Path(f"{path}.sig"), document.signatures)
    replace_durably(path, document.raw)
    for written in (path, Path(f"{path}.sig")):
        written.chmod(0o644)


def make_key(path: Path) -> KeyPair:
    """A new private key at `path` (mode 0600), its public half beside it as `.pub`. Raises ConfigError if it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pair = new_keypair()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError("there is a key already; it is not overwritten", path) from None
    except OSError as e:
        raise ConfigError(f"cannot write the key: {e.strerror}", path) from None
    with os.fdopen(fd, "w", encoding="ascii") as handle:
        handle.write(pair.private.hex() + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    path.with_suffix(".pub").write_text(pair.public.hex() + "\n", encoding="ascii")
    return pair


def read_private_key(path: Path) -> KeyPair:
    """A private key file that only its owner can read. Raises ConfigError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise ConfigError(f"cannot read the key: {e.strerror}", path) from None
    with os.fdopen(fd, encoding="ascii", errors="replace") as handle:
        found = os.fstat(handle.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
            raise ConfigError("others may read this private key; run `chmod 600` on it, or make a new one", path)
        return key_pair(parse_key(handle.read(200), str(path)))


def read_public_key(path: Path) -> bytes:
    """A public key file. Raises ConfigError."""
    try:
        return parse_key(path.read_text(encoding="ascii"), str(path))
    except (OSError, UnicodeError) as e:
        raise ConfigError(f"cannot read the public key ({type(e).__name__})", path) from None


def named_key(text: str, root: Root) -> bytes:
    """The key of `root` that `text` names: a public key file, its 64 digits, or its key id. Raises ConfigError."""
    if Path(text).is_file():
        wanted = read_public_key(Path(text))
    else:
        known = [*root.root_keys, *root.policy_keys]
        wanted = next((key for key in known if text in (key_id(key), key.hex())), b"")
    if wanted not in (*root.root_keys, *root.policy_keys):
        raise ConfigError(f"root version {root.version} lists no such key: {text}")
    return wanted
