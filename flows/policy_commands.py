"""`aispm policy …`: writing, signing and publishing what gateways obey. No logic here.

Exit codes as everywhere: 2 usage, 4 a root still lacks signatures, 5 something does not verify.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.invocation import Json, emit

if TYPE_CHECKING:
    from tasks.policy.folder import Folder
    from tasks.policy.publications import Pending, Published

policy_app = typer.Typer(
    help="Signed gateway policies: a folder with a draft, keys, and what is published.", no_args_is_help=True
)

FolderArgument = Annotated[Path, typer.Argument(help="The signing folder (see `aispm policy init`).")]
Key = Annotated[Path | None, typer.Option(help="Private policy key; default: the one in keys/ that may sign.")]
RootKeys = Annotated[
    list[Path] | None, typer.Option("--root-key", help="Private root key, repeated; default: keys/root.key.")
]
Days = Annotated[int, typer.Option(help="Days until the policy expires: how long a withheld one can be hidden.", min=1)]
RootDays = Annotated[int, typer.Option(help="Days until the root expires.", min=1)]


@policy_app.command("init")
def init(
    folder: FolderArgument,
    tenant: Annotated[str, typer.Option(help="Whose policies these are.")],
    audience: Annotated[list[str], typer.Option(help="A gateway_id that they are for, repeated.")],
    root_key: Annotated[
        list[Path] | None, typer.Option("--root-key", help="Public key of a root holder, repeated; default: made here.")
    ] = None,
    policy_key: Annotated[
        list[Path] | None, typer.Option("--policy-key", help="Public key that may sign policies; default: made here.")
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(help="Root holders who must sign a root; default: more than half.")
    ] = None,
    days: RootDays = 365,
    as_json: Json = False,
) -> None:
    """Begin a signing folder: a draft, keys, and the first root that gateways are installed with."""
    from tasks.policy.folder import Folder, read_public_key
    from tasks.policy.publications import init_folder

    made = Folder(folder)
    waiting = init_folder(
        made,
        tenant=tenant,
        audience=audience,
        now=_now(),
        root_keys=[read_public_key(path) for path in root_key or ()],
        policy_keys=[read_public_key(path) for path in policy_key or ()],
        threshold=threshold,
        days=days,
    )
    if waiting is not None:
        _waits(waiting, as_json)
    if as_json:
        emit({"schema": "aispm.policy_folder/1", "folder": str(folder), "root": str(made.published_root(1))})
    else:
        typer.echo(f"made {folder}: edit {made.draft.name}, or `aispm policy add-agent {folder} ID`")
        typer.echo(f'install gateways with [policy] root = "{made.published_root(1)}"')
        typer.echo(f"then `aispm policy publish {folder}`")


@policy_app.command("keygen")
def keygen(
    file: Annotated[Path, typer.Argument(help="For the private key (mode 0600); .pub beside it.")],
) -> None:
    """Make a key for a root holder or a policy signer."""
    from tasks.policy.folder import make_key

    typer.echo(f"made {file} and {file.with_suffix('.pub')}: key {make_key(file).key_id}")


@policy_app.command("add-agent")
def add_agent(
    folder: FolderArgument,
    agent: Annotated[str, typer.Argument(help="Its id, as events show it.")],
    asset: Annotated[str | None, typer.Option(help="Id of the asset that it is.")] = None,
    tool: Annotated[list[str] | None, typer.Option(help="A tool it may use, repeated.")] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Read its key from here; without it one is made and printed once.")
    ] = None,
) -> None:
    """Enter an agent into the draft; it may enter after the next publication."""
    from gateway.secrets import resolve_secret
    from tasks.policy.folder import Folder
    from tasks.policy.publications import add_agent as add

    key = None if key_file is None else resolve_secret(f"file:{key_file}")
    made = add(Folder(folder), agent, asset_id=asset, tools=tool or (), key=key)
    typer.echo(f"{agent} is in the draft; publish it", err=True)
    if key is None:
        typer.echo(made)


@policy_app.command("sign")
def sign(
    file: Annotated[Path, typer.Argument(help="A root (pending/root.N.json) or a policy.")],
    key: Annotated[Path, typer.Option(help="Private key, readable by its owner only.")],
) -> None:
    """Add one signature to FILE.sig: a holder's to a root, or the signer's to a policy."""
    from tasks.policy.roots import sign_file

    typer.echo(sign_file(file, key))


@policy_app.command("publish")
def publish(folder: FolderArgument, key: Key = None, days: Days = 30, as_json: Json = False) -> None:
    """Sign the draft as the next version, with a root that was signed meanwhile. Repeat it to renew the expiry."""
    from tasks.policy.publications import publish as go

    _published(go(_folder(folder), key=key, now=_now(), days=days), as_json)


@policy_app.command("revoke")
def revoke(
    folder: FolderArgument,
    agent: Annotated[list[str] | None, typer.Option(help="An agent whose key no longer counts, repeated.")] = None,
    signing_key: Annotated[
        list[str] | None,
        typer.Option(help="A policy or root key (id, digits or .pub file) that was stolen, repeated: needs root keys."),
    ] = None,
    root_key: RootKeys = None,
    key: Key = None,
    days: Days = 30,
    as_json: Json = False,
) -> None:
    """Take an agent's key, or a signing key for good, out of force and publish at once."""
    from tasks.errors import ConfigError
    from tasks.policy.folder import named_key
    from tasks.policy.publications import change_root, revoke_agents
    from tasks.policy.roots import Change

    made = _folder(folder)
    if bool(agent) == bool(signing_key):
        raise ConfigError("name --agent or --signing-key")
    if agent:
        _published(revoke_agents(made, agent, key=key, now=_now(), days=days), as_json)
        return
    root = made.trusted().root
    change = Change(revoke=[named_key(text, root) for text in signing_key or ()])
    _published(change_root(made, change, root_keys=root_key or (), key=key, now=_now(), days=days), as_json)


@policy_app.command("rotate")
def rotate(
    folder: FolderArgument,
    add_root_key: Annotated[list[Path] | None, typer.Option(help="Public key of a new root holder, repeated.")] = None,
    add_policy_key: Annotated[list[Path] | None, typer.Option(help="Public key of a new signer, repeated.")] = None,
    drop_key: Annotated[list[str] | None, typer.Option(help="Key that goes (id or .pub file), repeated.")] = None,
    threshold: Annotated[int | None, typer.Option(help="Root holders who must sign from now on.")] = None,
    root_key: RootKeys = None,
    key: Key = None,
    root_days: RootDays = 365,
    days: Days = 30,
    as_json: Json = False,
) -> None:
    """Make the next root: other keys, another threshold, or only a later expiry. What is published is signed again.

    It needs the signatures of the old and of the new holders; those whose keys are elsewhere add them with
    `aispm policy sign`, then `aispm policy publish` brings it out.
    """
    from tasks.policy.folder import named_key, read_public_key
    from tasks.policy.publications import change_root
    from tasks.policy.roots import Change

    made = _folder(folder)
    root = made.trusted().root
    change = Change(
        add_root=[read_public_key(path) for path in add_root_key or ()],
        add_policy=[read_public_key(path) for path in add_policy_key or ()],
        drop=[named_key(text, root) for text in drop_key or ()],
        threshold=threshold,
    )
    done = change_root(made, change, root_keys=root_key or (), key=key, now=_now(), root_days=root_days, days=days)
    _published(done, as_json)


@policy_app.command("rollback")
def rollback(
    folder: FolderArgument,
    to: Annotated[int, typer.Option(help="The version whose content comes back, as a new version.")],
    key: Key = None,
    days: Days = 30,
    as_json: Json = False,
) -> None:
    """Publish the content of an earlier version as the next one. Revoked agents stay revoked."""
    from tasks.policy.publications import rollback as go

    _published(go(_folder(folder), to, key=key, now=_now(), days=days), as_json)


@policy_app.command("verify")
def verify(
    path: Annotated[Path, typer.Argument(help="policy.json, its folder, or a signing folder.")],
    root: Annotated[Path | None, typer.Option(help="The root gateways have; default: beside it.")] = None,
    gateway: Annotated[str | None, typer.Option(help="Also check that it is for this gateway_id.")] = None,
    as_json: Json = False,
) -> None:
    """Check root and policy as a gateway would. Exit 5 when something does not hold."""
    from gateway.policy.refused import PolicyError
    from tasks.policy.publications import check

    try:
        policy, trusted = check(path, installed=root, gateway_id=gateway, now=_now())
    except PolicyError as e:
        if as_json:
            emit({"schema": "aispm.policy_check/1", "ok": False, "reason": e.detail})
        raise
    if as_json:
        emit(
            {
                "schema": "aispm.policy_check/1",
                "ok": True,
                "tenant": policy.tenant,
                "epoch": policy.epoch,
                "version": policy.version,
                "root_version": trusted.root.version,
                "audience": policy.audience,
                "expires": policy.expires.isoformat(),
                "key_id": policy.key_id,
                "sha256": policy.sha256,
            }
        )
    else:
        typer.echo(
            f"ok: version {policy.version}, epoch {policy.epoch}, root {trusted.root.version}, "
            f"for {', '.join(policy.audience)}, expires {policy.expires:%Y-%m-%d}"
        )


@policy_app.command("serve")
def serve(
    folder: FolderArgument,
    host: Annotated[str, typer.Option(help="Beyond loopback only with TLS and --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 = any free port.")] = 8444,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM, with its chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM.")] = None,
    token: Annotated[str | None, typer.Option(help="Reference: env:NAME or file:PATH.")] = None,
) -> None:
    """Replace this process by the policy server (`python -m gateway.policy_server`)."""
    published = folder / "published" if (folder / "published").is_dir() else folder
    command = [sys.executable, "-m", "gateway.policy_server", "--folder", str(published), "--host", host]
    command += ["--port", str(port)]
    for option, value in (("--tls-cert", tls_cert), ("--tls-key", tls_key), ("--token", token)):
        command += [option, str(value)] if value is not None else []
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter


@policy_app.command("status")
def status(
    url: Annotated[str, typer.Argument(help="The policy server.")],
    token: Annotated[str | None, typer.Option(help="Reference: env:NAME or file:PATH.")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM, the authority behind its certificate.")] = None,
    as_json: Json = False,
) -> None:
    """Which gateway has which policy in force, as they told the server. Exit 4 unless all have the newest."""
    from tasks.errors import IncompleteError
    from tasks.policy.status import ask

    document = ask(url, token, ca)
    if as_json:
        emit(document)
    policy, gateways = document["policy"], document["gateways"]
    if not as_json and policy is not None:
        typer.echo(f"version {policy['version']}, epoch {policy['epoch']}, root {policy['root_version']}")
        for row in gateways:
            seen = "never seen" if row["seen_s"] is None else f"seen {row['seen_s']:.0f} s ago"
            refused = f", refused: {row['refused']}" if row["refused"] else ""
            state = "current" if row["current"] else "BEHIND "
            typer.echo(f"{state} {row['gateway_id']:<24} {row['applied'] or '-':<10} {seen}{refused}")
    behind = [row["gateway_id"] for row in gateways if not row["current"]]
    if policy is None or behind:
        raise IncompleteError(f"{len(behind)} of {len(gateways)} gateways do not have the newest policy")


def _folder(path: Path) -> Folder:
    from tasks.policy.folder import Folder

    return Folder(path)


def _published(done: Published | Pending, as_json: bool) -> None:
    from tasks.policy.publications import Pending

    if isinstance(done, Pending):
        _waits(done, as_json)
        return
    if as_json:
        emit(
            {
                "schema": "aispm.policy_publication/1",
                "epoch": done.epoch,
                "version": done.version,
                "root_version": done.root_version,
                "sha256": done.sha256,
                "expires": done.expires.isoformat(),
                "key_id": done.key_id,
                "notes": list(done.notes),
            }
        )
        return
    typer.echo(
        f"published version {done.version}, epoch {done.epoch}, root {done.root_version}, "
        f"expires {done.expires:%Y-%m-%d}"
    )
    for note in done.notes:
        typer.echo(note)


def _waits(pending: Pending, as_json: bool) -> None:
    from tasks.errors import IncompleteError

    if as_json:
        emit({"schema": "aispm.policy_pending/1", "root": str(pending.path), "lacks": pending.lacks})
    raise IncompleteError(
        f"{pending.lacks}; let holders run `aispm policy sign {pending.path} --key …`, then `aispm policy publish`"
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
