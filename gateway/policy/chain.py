"""From an installed root to the policy in force, in the only order that is safe. No I/O.

Modelled on `TrustedMetadataSet` of python-tuf, with two documents instead of four. A TUF repository has a timestamp
and a snapshot because its targets are many files; here one bundle holds everything that a gateway needs, so its hash
over all sections *is* the snapshot, and its own `expires` is the timestamp. What that costs: whoever controls the
policy server or the way to it (not the keys) can withhold a newer bundle until the one in force expires. A timestamp
key that is online could narrow that to minutes, and would be one more key to steal and one more document to expire;
instead bundles are cheap to re-issue with a short life (`aispm policy publish`, from wherever the policy key is), and
`max_stale_s` bounds how long a gateway goes on that reaches no server at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from gateway.policy.bundle import Policy, verify_bundle
from gateway.policy.refused import PolicyError
from gateway.policy.root import Root, first_root, next_root
from gateway.policy.trust import MAX_SIGNATURE_BYTES

MAX_ROOT_STEPS = 256
"""Roots walked at once, as in python-tuf; a server could otherwise keep a gateway walking for ever."""


class Document(NamedTuple):
    """The bytes of a root or bundle and those of its signature file; nothing of it is trusted yet."""

    raw: bytes
    signatures: bytes

    def framed(self) -> bytes:
        """Both in one piece, so that they cannot arrive from two moments: signature lines, an empty line, document."""
        return self.signatures + b"\n" + self.raw

    @staticmethod
    def unframe(body: bytes) -> Document:
        """What `framed` made. Raises PolicyError."""
        end = body.find(b"\n\n", 0, MAX_SIGNATURE_BYTES + 2)
        if end < 0:
            raise PolicyError("signature", "the answer does not begin with signature lines and an empty line")
        return Document(body[end + 2 :], body[: end + 1])


class TrustedSet:
    """The newest root that follows from the installed one, and what holds under it."""

    def __init__(self, installed: Document) -> None:
        """Raises PolicyError."""
        self.root: Root = first_root(*installed)
        self.successors: dict[int, Document] = {}
        """version -> root, from the one after the installed root to the newest."""

    def update_root(self, document: Document) -> None:
        """Go one root on. An expired one is a step like any other; only the last must be in date. Raises
        PolicyError; the root then stays."""
        if len(self.successors) >= MAX_ROOT_STEPS:
            raise PolicyError("root", f"more than {MAX_ROOT_STEPS} roots since the installed one; install a newer one")
        self.root = next_root(self.root, *document)
        self.successors[self.root.version] = document

    def policy(self, document: Document, gateway_id: str, now: datetime) -> Policy:
        """The policy in `document`, if it may be in force at `now` (timezone-aware) on this gateway.

        It may be used until it or the root expires, whichever comes first: `Policy.expires` says so. Raises
        PolicyError.
        """
        root = self.root
        if root.expired(now):
            raise PolicyError("expired", f"root version {root.version} expired on {root.expires:%Y-%m-%d}")
        policy = self.genuine(document)
        policy.check_audience(gateway_id)
        if policy.expired(now):
            raise PolicyError(
                "expired", f"policy version {policy.version} expired on {policy.expires:%Y-%m-%d}; publish a new one"
            )
        return replace(policy, expires=min(policy.expires, root.expires))

    def genuine(self, document: Document) -> Policy:
        """The policy in `document`, if it holds under the newest root, for whomever and until when it may be. Raises
        PolicyError."""
        root = self.root
        policy = verify_bundle(*document, root.policy_keys)
        if policy.tenant != root.tenant:
            raise PolicyError("tenant", f"policy version {policy.version} is of another tenant")
        if policy.epoch != root.epoch or policy.root_version > root.version:
            raise PolicyError(
                "epoch",
                f"policy version {policy.version} was made under root {policy.root_version} in epoch {policy.epoch}; "
                f"the newest root here is {root.version} in epoch {root.epoch}",
            )
        return policy


@dataclass(frozen=True, slots=True)
class Memory:
    """What a gateway has accepted so far; it never goes back behind that.

    Roots are remembered as soon as they hold, whatever becomes of the policy beside them: a key that a root revokes
    stays revoked.
    """

    tenant: str
    root_version: int
    root_sha256: str
    epoch: int
    version: int
    sha256: str
    """Epoch, version and hash of the newest policy; 0, 0 and empty before the first."""
    roots: Mapping[int, Document]
    policy: Document | None

    def check_root(self, root: Root) -> None:
        """Raises PolicyError when `root` is not at least as new as what was seen."""
        if root.tenant != self.tenant:
            raise PolicyError("tenant", "the installed root is of another tenant than the policies seen before")
        if root.version < self.root_version:
            raise PolicyError("rollback", f"root version {root.version} is older than {self.root_version} seen before")
        if root.version == self.root_version and root.sha256 != self.root_sha256:
            raise PolicyError("rollback", f"two different roots claim version {root.version}")

    def check_policy(self, policy: Policy) -> None:
        """Raises PolicyError when `policy` is not at least as new as what was seen."""
        newest, found = (self.epoch, self.version), (policy.epoch, policy.version)
        if found < newest:
            raise PolicyError(
                "rollback",
                f"policy version {policy.version} (epoch {policy.epoch}) is older than version {self.version} "
                f"(epoch {self.epoch}) seen before",
            )
        if found == newest and policy.sha256 != self.sha256:
            raise PolicyError(
                "rollback", f"two different policies claim version {policy.version}; publish the next version"
            )


def remember(memory: Memory | None, trusted: TrustedSet, policy: Policy | None, document: Document | None) -> Memory:
    """`memory` with the newest root and, if given, a policy that was accepted."""
    root = trusted.root
    known = memory or Memory(root.tenant, root.version, root.sha256, 0, 0, "", {}, None)
    changed = replace(known, root_version=root.version, root_sha256=root.sha256, roots=dict(trusted.successors))
    if policy is None:
        return changed
    return replace(changed, epoch=policy.epoch, version=policy.version, sha256=policy.sha256, policy=document)
