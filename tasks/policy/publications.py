"""Publications: the draft, signed as the next version; revocation and rollback are publications too."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.durable import replace_durably
from gateway.policy import bundle as bundles
from gateway.policy import root as roots
from gateway.policy.bundle import Policy, compose_bundle, hash_agent_key, new_hash_key, sign_bundle
from gateway.policy.chain import Document, TrustedSet
from gateway.policy.files import read_document
from gateway.policy.reading import parse_object
from gateway.policy.root import compose_root
from gateway.policy.trust import KeyPair
from tasks.errors import ConfigError, VerificationError
from tasks.policy.folder import Folder, make_key, read_private_key, write_document
from tasks.policy.roots import Change, next_root, pending_root, settle_root, stage_root, trusted_with

NOT_IN_DRAFT = ("schema", "tenant", "version", "epoch", "root_version", "issued", "expires")
"""What a publication adds to the draft."""
POLICY_DAYS, ROOT_DAYS = 30, 365
"""Default lives. A policy's is how long a withheld revocation can stay hidden: shorten it where a publication is
repeated by a timer."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a command put into `published/`."""

    epoch: int
    version: int
    root_version: int
    sha256: str
    expires: datetime
    key_id: str
    notes: tuple[str, ...] = ()
    """What else the user should know, such as agents that stayed revoked."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A root that waits for signatures; nothing was published."""

    path: Path
    lacks: str


def init_folder(
    folder: Folder,
    *,
    tenant: str,
    audience: Sequence[str],
    now: datetime,
    root_keys: Sequence[bytes] = (),
    policy_keys: Sequence[bytes] = (),
    threshold: int | None = None,
    days: int = ROOT_DAYS,
) -> Pending | None:
    """Draft, keys and the first root. Without `root_keys` and `policy_keys` both are made here, and one signature is
    enough; with them the holders sign first, and the result says so. Raises ConfigError, PolicyError."""
    with folder.alone():
        if folder.draft.exists() or folder.published.exists():
            raise ConfigError("this is a signing folder already; nothing was changed", folder.path)
        signers: list[KeyPair] = []
        if not root_keys:
            signers = [make_key(folder.root_key)]
            root_keys = [signers[0].public]
        if not policy_keys:
            policy_keys = [make_key(folder.path / "keys" / "policy.key").public]
        raw = compose_root(
            tenant=tenant,
            version=1,
            epoch=1,
            issued=now,
            expires=now + timedelta(days=days),
            threshold=threshold or (len(root_keys) // 2 + 1),
            root_keys=root_keys,
            policy_keys=policy_keys,
        )
        write_draft(folder, {"audience": list(audience), "hash_key": new_hash_key(), "agents": [], "tools": {}})
        return _settle_or_wait(folder, stage_root(folder, raw, signers))


def read_draft(folder: Folder) -> dict[str, Any]:
    """The draft. Raises ConfigError, PolicyError."""
    try:
        draft = parse_object(folder.draft.read_bytes())
    except OSError as e:
        raise ConfigError(f"cannot read the draft: {e.strerror}; `aispm policy init` makes one", folder.draft) from None
    if wrong := sorted(set(draft) & set(NOT_IN_DRAFT)):
        raise ConfigError(f"the draft does not say `{wrong[0]}`: a publication does", folder.draft)
    return draft


def write_draft(folder: Folder, draft: dict[str, Any]) -> None:
    """Replace the draft."""
    folder.path.mkdir(parents=True, exist_ok=True)
    replace_durably(folder.draft, (json.dumps(draft, indent=1, ensure_ascii=False) + "\n").encode())


def add_agent(folder: Folder, agent_id: str, *, asset_id: str | None, tools: Sequence[str], key: str | None) -> str:
    """Enter an agent into the draft; its key, made here unless given. It is stored nowhere. Raises ConfigError."""
    with folder.alone():
        draft = read_draft(folder)
        if any(entry.get("id") == agent_id for entry in draft["agents"]):
            raise ConfigError(f"the draft has an agent {agent_id} already", folder.draft)
        made = key or secrets.token_urlsafe(32)
        entry = {"id": agent_id, "key_hash": hash_agent_key(draft["hash_key"], made)}
        draft["agents"].append(entry if asset_id is None else {**entry, "asset_id": asset_id})
        if tools:
            draft.setdefault("tools", {})[agent_id] = list(tools)
        write_draft(folder, draft)
        return made


def publish(folder: Folder, *, key: Path | None, now: datetime, days: int = POLICY_DAYS) -> Published:
    """Sign the draft as the next version, under the pending root if there is one. Raises ConfigError, PolicyError;
    nothing is then published."""
    with folder.alone():
        pending = pending_root(folder)
        return _publish(folder, trusted_with(folder, pending), pending, read_draft(folder), key, now, days)


def revoke_agents(
    folder: Folder, agents: Sequence[str], *, key: Path | None, now: datetime, days: int = POLICY_DAYS
) -> Published:
    """Revoke agents in the draft and in what is published; nothing else of a half-edited draft is published with it.
    Raises ConfigError, PolicyError."""
    with folder.alone():
        trusted, draft, content = folder.trusted(), read_draft(folder), _published_content(folder)
        if unknown := set(agents) - {entry["id"] for entry in content["agents"]}:
            raise ConfigError(f"the published policy has no agent {', '.join(sorted(unknown))}", folder.policy)
        for document in (content, draft):
            for entry in document["agents"]:
                if entry["id"] in agents:
                    entry["revoked"] = True
        write_draft(folder, draft)
        return _publish(folder, trusted, None, content, key, now, days)


def change_root(
    folder: Folder,
    change: Change,
    *,
    root_keys: Sequence[Path],
    key: Path | None,
    now: datetime,
    root_days: int = ROOT_DAYS,
    days: int = POLICY_DAYS,
) -> Published | Pending:
    """The next root and, once enough holders signed, what is published now, signed again under it.

    Where this folder's own policy key goes, a new one is made. Raises ConfigError, PolicyError.
    """
    with folder.alone():
        if (waiting := pending_root(folder)) is not None:
            raise ConfigError("a root is waiting already; publish it or remove it first", waiting)
        root = folder.trusted().root
        own = folder.policy_key(root)
        if own is not None and read_private_key(own).public in {*change.drop, *change.revoke}:
            change = replace(change, add_policy=[*change.add_policy, _make_policy_key(folder).public])
        paths = root_keys or ([folder.root_key] if folder.root_key.exists() else [])
        signers = [read_private_key(path) for path in paths]
        pending = stage_root(folder, next_root(root, change, now, root_days), signers)
        try:
            trusted = trusted_with(folder, pending)
        except VerificationError as e:
            return Pending(pending, str(e))
        content = _published_content(folder) if folder.policy.exists() else read_draft(folder)
        return _publish(folder, trusted, pending, content, key, now, days)


def rollback(folder: Folder, version: int, *, key: Path | None, now: datetime, days: int = POLICY_DAYS) -> Published:
    """Publish the content of an earlier version as the next one; the draft says the same afterwards.

    Agents that may not enter now may not enter afterwards, though the earlier version let them in. Raises ConfigError,
    PolicyError.
    """
    with folder.alone():
        found = [path for path in folder.publications() if path.name.split(".")[1] == str(version)]
        if not found:
            raise ConfigError(f"no version {version} was published", folder.path / "history")
        trusted, content = folder.trusted(), _content(found[-1])
        active = {entry["id"] for entry in _published_content(folder)["agents"] if not entry.get("revoked")}
        kept_out = []
        for entry in content["agents"]:
            if entry["id"] not in active and not entry.get("revoked"):
                entry["revoked"] = True
                kept_out.append(entry["id"])
        published = _publish(folder, trusted, None, content, key, now, days)
        write_draft(folder, content)
        notes = (f"still revoked: {', '.join(sorted(kept_out))}",) if kept_out else ()
        return replace(published, notes=notes)


def check(path: Path, *, installed: Path | None, gateway_id: str | None, now: datetime) -> tuple[Policy, TrustedSet]:
    """Read a policy as a gateway would: `path` is a policy file, its folder or a signing folder; `installed` the root
    to begin with, by default the oldest one beside it. Raises ConfigError, PolicyError."""
    if path.is_dir():
        path = path / "policy.json" if (path / "policy.json").exists() else Folder(path).policy
    found = [re.fullmatch(r"root\.([1-9][0-9]*)\.json", beside.name) for beside in path.parent.glob("root.*.json")]
    versions = sorted(int(match[1]) for match in found if match)
    if installed is None and not versions:
        raise ConfigError("there is no root beside it; name the installed one with --root", path)
    trusted = TrustedSet(read_document(installed or path.with_name(f"root.{versions[0]}.json"), roots.MAX_BYTES))
    while (step := path.with_name(f"root.{trusted.root.version + 1}.json")).exists():
        trusted.update_root(read_document(step, roots.MAX_BYTES))
    document = read_document(path, bundles.MAX_BYTES)
    return trusted.policy(document, gateway_id or _any_gateway(trusted, document), now), trusted


def _any_gateway(trusted: TrustedSet, document: Document) -> str:
    audience = trusted.genuine(document).audience
    return audience[0] if audience else ""


def _publish(
    folder: Folder,
    trusted: TrustedSet,
    pending: Path | None,
    content: dict[str, Any],
    key: Path | None,
    now: datetime,
    days: int,
) -> Published:
    """Sign `content` as the next version and put it where gateways look, then the root that it was made under."""
    root = trusted.root
    path = key or folder.policy_key(root)
    if path is None:
        raise ConfigError("no key in keys/ may sign policies; name one with --key", folder.path / "keys")
    pair = read_private_key(path)
    given: dict[str, Any] = {
        "tenant": root.tenant,
        "version": 1 + max((int(path.name.split(".")[1]) for path in folder.publications()), default=0),
        "epoch": root.epoch,
        "root_version": root.version,
        "issued": now,
        "expires": now + timedelta(days=days),
    }
    try:
        raw = compose_bundle(**given, **content)
    except (TypeError, ValueError, AttributeError):  # before the strict reader saw it
        raise ConfigError("`audience`, `hash_key` and `agents` must be there, lists as lists", folder.draft) from None
    document = Document(raw, sign_bundle(raw, pair.private))
    policy = trusted.policy(document, _any_gateway(trusted, document), now)  # as a gateway will
    write_document(folder.publication(policy.epoch, policy.version), document)
    write_document(folder.policy, document)
    # The root last: a gateway that reads in between keeps what it has, instead of having a root without its policy.
    if pending is not None:
        settle_root(folder, pending)
    return Published(policy.epoch, policy.version, root.version, policy.sha256, policy.expires, pair.key_id)


def _settle_or_wait(folder: Folder, pending: Path) -> Pending | None:
    try:
        trusted_with(folder, pending)
    except VerificationError as e:
        return Pending(pending, str(e))
    settle_root(folder, pending)
    return None


def _make_policy_key(folder: Folder) -> KeyPair:
    keys = folder.path / "keys"
    number = 1 + len(list(keys.glob("policy*.key")))
    return make_key(keys / f"policy-{number}.key")


def _published_content(folder: Folder) -> dict[str, Any]:
    if not folder.policy.exists():
        raise ConfigError("nothing is published yet; run `aispm policy publish`", folder.path)
    return _content(folder.policy)


def _content(path: Path) -> dict[str, Any]:
    """What a publication says, as a draft says it."""
    document = parse_object(path.read_bytes())
    return {name: value for name, value in document.items() if name not in NOT_IN_DRAFT}
