"""Proof: a Merkle root over every row a run committed, signed and chained to the root before it; and its verification.

Leaves are the rows' SHA-256 (see `lake.row_hash`); trees follow RFC 6962 section 2.1 (node = SHA-256(0x01 ‖ left ‖
right), split at the largest power of two below n, empty tree = SHA-256 of nothing); signatures are Ed25519 (RFC 8032)
over `"aispm.run_root/1" ‖ 0x00 ‖ canonical JSON`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from tasks.crash import crash_point
from tasks.errors import LakeError
from tasks.lake import Lake, Table, row_hash, tables
from tasks.records import canonical_json
from tasks.reporting.signing import Signer

ROOT_SCHEMA = "aispm.run_root/1"


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root of RFC 6962 over leaf hashes (32 bytes each)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    # A level-by-level fold that promotes an odd last node gives the same tree as the recursive split.
    level = list(leaves)
    while len(level) > 1:
        paired = [hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def signed_bytes(schema: str, document: str) -> bytes:
    """What is signed: the schema separates the domains, so that no document passes for another kind."""
    return schema.encode() + b"\x00" + document.encode()


def _table_roots(lake: Lake, run_id: str) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Per table with rows of the run its count and root, from the lake as it is now; and the leaves over those."""
    entries = []
    for spec in tables().values():
        where = "and kind <> 'root'" if spec.name == "evidence" else ""
        order = ", ".join(f'"{name}"' for name in spec.key)
        hashes = lake.query(
            f"select row_sha256 from lake.{spec.name} where run_id = ? {where} order by {order}",  # noqa: S608 - names from our DDL
            [run_id],
        )
        if hashes:
            root = merkle_root([bytes.fromhex(row["row_sha256"]) for row in hashes]).hex()
            entries.append({"name": spec.name, "columns": spec.schema.names, "rows": len(hashes), "root": root})
    leaves = [hashlib.sha256(b"\x00" + canonical_json(entry).encode()).digest() for entry in entries]
    return entries, leaves


def seal(
    lake: Lake, run_id: str, *, flow: str, params_sha256: str, code: str, quality: str, signer: Signer
) -> dict[str, Any]:
    """Sign the root over the run's rows, chained to the newest root, and commit it; sealing again changes nothing.

    Raises LakeError when another process keeps extending the chain.
    """
    for _ in range(50):
        chain = lake.query(
            "select run_id, sha256, detail, position from lake.evidence where kind = 'root' order by position desc"
        )
        mine = [row for row in chain if row["run_id"] == run_id]
        if mine:
            return dict(json.loads(mine[0]["detail"]))
        entries, leaves = _table_roots(lake, run_id)
        chain_seq = chain[0]["position"] + 1 if chain else 1
        body: dict[str, Any] = {
            "schema": ROOT_SCHEMA,
            "chain_seq": chain_seq,
            "prev": chain[0]["sha256"] if chain else "",
            "run_id": run_id,
            "flow": flow,
            "code_version": code,
            "params_sha256": params_sha256,
            "tables": entries,
            "root": merkle_root(leaves).hex(),
            "quality": quality,
            "sealed_at": dt.datetime.now(dt.UTC).isoformat(),
        }
        text = canonical_json(body)
        row = {
            "run_id": run_id,
            "kind": "root",
            "table_name": "",
            "position": chain_seq,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "detail": text,
            "signature": signer.sign(signed_bytes(ROOT_SCHEMA, text)),
            "key_id": signer.key_id,
            "made_at": dt.datetime.now(dt.UTC),
        }
        crash_point("seal:during")
        # The chain is one sequence: whoever commits this number first wins, the other re-reads the head.
        if lake.append("evidence", [row], key="chain", run_id=run_id, number=chain_seq).rows:
            return body
    raise LakeError("could not extend the chain of signed roots; is another process sealing in a loop?")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not hold: `status` as in the lake note, `where` names run, table and row."""

    status: str
    where: str
    detail: str


def verify_lake(lake: Lake, public: VerifyKey, run_ids: Iterable[str] = ()) -> tuple[int, list[Problem]]:
    """Check signatures, chain, roots and every row hash of the sealed runs (all, or those named).

    Returns how many rows were checked, and the problems; `altered` names table and key of the row.
    """
    wanted = set(run_ids)
    problems: list[Problem] = []
    checked = 0
    previous = ""
    chain = lake.query("select * from lake.evidence where kind = 'root' order by position")
    for number, row in enumerate(chain, 1):
        where = f"run {row['run_id']}"
        text = row["detail"]
        body = json.loads(text)
        try:
            public.verify(signed_bytes(ROOT_SCHEMA, text), bytes.fromhex(row["signature"]))
        except (BadSignatureError, ValueError):
            problems.append(Problem("altered", where, "the signature of the run root does not verify with this key"))
        if row["position"] != number or body["chain_seq"] != number or body["prev"] != previous:
            problems.append(Problem("missing", where, f"the chain of roots breaks before number {body['chain_seq']}"))
        previous = hashlib.sha256(text.encode()).hexdigest()
        if wanted and row["run_id"] not in wanted:
            continue
        for entry in body["tables"]:
            rows, found = _verify_table(lake, tables()[entry["name"]], row["run_id"], entry)
            checked += rows
            problems += found
    sealed = {row["run_id"] for row in chain}
    problems += [Problem("unsealed", f"run {run}", "it has no signed root") for run in sorted(wanted - sealed)]
    return checked, problems


def _verify_table(lake: Lake, spec: Table, run_id: str, entry: dict[str, Any]) -> tuple[int, list[Problem]]:
    leaves = []
    problems = []
    for row in lake.batches(spec, run_id):
        if spec.name == "evidence" and row["kind"] == "root":
            continue
        leaves.append(bytes.fromhex(row["row_sha256"]))
        # The root names the columns of its time: later ones leave old hashes as they are.
        if row_hash(spec, row, entry["columns"]) != row["row_sha256"]:
            key = ", ".join(f"{name}={row[name]}" for name in spec.key)
            problems.append(Problem("altered", f"run {run_id}, {spec.name}, {key}", "the row does not match its hash"))
    where = f"run {run_id}, {spec.name}"
    if len(leaves) != entry["rows"]:
        status = "missing" if len(leaves) < entry["rows"] else "extra"
        problems.append(Problem(status, where, f"{entry['rows']} rows were sealed, {len(leaves)} are there"))
    elif merkle_root(leaves).hex() != entry["root"] and not problems:
        problems.append(Problem("altered", where, "row hashes were rewritten: the root does not match"))
    return len(leaves), problems
