"""Check a signed aispm document without aispm: Python 3.11 or later and PyNaCl (`pip install pynacl`) are enough.

    python verify.py posture.json --key auditor.pub     the findings document
    python verify.py package.json --key auditor.pub     every file handed out, and posture.json in it

Bring the public key yourself: a key that came in the same package proves nothing. FILE.sig lies beside FILE and holds
the SHA-256 of FILE, one digest per row, and an Ed25519 signature (RFC 8032) over
`<document schema> 0x00 <FILE.sig without "signature", canonical JSON>`. Exit 0 verified, 2 usage, 5 not verified.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

SIGNATURE, KNOWN = "aispm.signature/1", ("aispm.package/1", "aispm.posture/1", "aispm.run_root/1", "aispm.snapshot/1")
MAX_BYTES, MAX_DEPTH, MAX_INT = 64 * 2**20, 64, 2**53 - 1
NAMED_BY = ("finding_id", "key", "asset_id", "family_id", "judge_id", "path", "run_id", "framework", "kind", "source")


class Verification(NamedTuple):
    """status: ok, altered, missing, refused (not a form we read), wrong_key or bad_signature (the .sig was changed)."""

    status: str
    problems: list[str]
    notes: list[str]


def canonical(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8: the form that is hashed and signed (RFC 8785 for integers and strings)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_strict(raw: bytes) -> dict[str, Any]:
    """One JSON object without duplicate keys, NaN, floats, huge integers or deep nesting; else ValueError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise ValueError("an object names the same key twice")
        return found

    def number(token: str) -> int:
        if not re.fullmatch("-?[0-9]{1,16}", token) or abs(int(token)) > MAX_INT:
            raise ValueError(f"number {token[:20]!r} is not an integer up to 2^53 - 1")
        return int(token)

    if len(raw) > MAX_BYTES:
        raise ValueError(f"{len(raw)} bytes; at most {MAX_BYTES} are read")
    try:
        decoder = json.JSONDecoder(
            object_pairs_hook=unique, parse_float=number, parse_int=number, parse_constant=number
        )
        level = [value := decoder.decode(raw.decode())]
    except UnicodeDecodeError as e:
        raise ValueError(f"byte {e.start}: not valid UTF-8 any more") from None
    except json.JSONDecodeError as e:
        raise ValueError(f"byte {len(e.doc[: e.pos].encode())}: not valid JSON any more ({e.msg})") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from None
    for _ in range(MAX_DEPTH):
        level = [v for c in level if isinstance(c, dict | list) for v in (c.values() if isinstance(c, dict) else c)]
    if level or not isinstance(value, dict):
        raise ValueError(f"nested deeper than {MAX_DEPTH}" if level else "not a JSON object")
    canonical(value)  # a lone surrogate behind an escape raises UnicodeEncodeError, which is a ValueError
    return value


def named_rows(document: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Section -> (name of the row, SHA-256 of the row): list items, members of an object, or the bare value."""
    out: dict[str, list[tuple[str, str]]] = {}
    for section, value in document.items():
        rows: list[tuple[str, Any]] = [(section, value)]
        if isinstance(value, dict):
            rows = [(f"{section}.{name}", [name, value[name]]) for name in sorted(value)]
        elif isinstance(value, list):
            ids = [next((f" {k}={r[k]!s:.80}" for k in NAMED_BY if isinstance(r, dict) and k in r), "") for r in value]
            rows = [(f"{section}[{i}]{name}", row) for i, (name, row) in enumerate(zip(ids, value, strict=True))]
        out[section] = [(name, hashlib.sha256(canonical(row)).hexdigest()) for name, row in rows]
    return out


def differences(signed: dict[str, list[str]], document: dict[str, Any]) -> list[str]:
    """Names every row of `document` that was altered, added or taken away since it was signed."""
    problems, found = list[str](), named_rows(document)
    for section in sorted({*signed, *found}):
        old, rows = signed.get(section, []), found.get(section, [])
        for op, i, i2, j, j2 in SequenceMatcher(None, old, [h for _, h in rows], autojunk=False).get_opcodes():
            if op != "equal":
                both = min(i2 - i, j2 - j)
                problems += [f"{name}: altered" for name, _ in rows[j : j + both]]
                problems += [f"{name}: extra, never signed" for name, _ in rows[j + both : j2]]
                problems += [f"{section}[{n}]: missing (signed sha256 {old[n]:.16}…)" for n in range(i + both, i2)]
    return problems


def verify_document(raw: bytes, sig: str | bytes, public_key: bytes) -> Verification:
    """Is `raw` what the owner of `public_key` (32 bytes) signed? Never raises for anything inside `raw` or `sig`."""
    sig = sig.encode("utf-8", "replace") if isinstance(sig, str) else sig
    key_id = hashlib.sha256(public_key).hexdigest()[:16]
    try:
        box = parse_strict(sig)
        signature = str(box.pop("signature", ""))
        if sig != canonical({**box, "signature": signature}) + b"\n" or not re.fullmatch("[0-9a-f]{128}", signature):
            raise ValueError("not in the form it was written in")
        if box.get("schema") != SIGNATURE or (schema := box.get("document_schema")) not in KNOWN:
            raise ValueError("unknown schema")
    except ValueError as e:
        return Verification("refused", [f"signature file: {e}"], [])
    if box.get("key_id") != key_id:
        return Verification("wrong_key", [f"signed by key {box.get('key_id')!s:.16}, checked with {key_id}"], [])
    try:
        VerifyKey(public_key).verify(schema.encode() + b"\0" + canonical(box), bytes.fromhex(signature))
    except CryptoError:
        return Verification("bad_signature", ["signature file: the Ed25519 signature does not hold"], [])
    status = "ok" if hashlib.sha256(raw).hexdigest() == box["sha256"] else "altered"
    try:
        document = parse_strict(raw)
        if status == "ok" and document.get("schema") != schema:
            raise ValueError("the document's schema is not the one it was signed as")
    except ValueError as e:
        return Verification("refused" if status == "ok" else status, [str(e)], [])
    problems = differences(box["rows"], document) if status == "altered" else []
    if status == "altered" and not problems:
        at = next((n for n, (a, b) in enumerate(zip(raw, canonical(document), strict=False)) if a != b), "at the end")
        problems = [f"byte {at}: spacing, order or spelling was altered; no row changed its meaning"]
    counts = ", ".join(f"{len(v)} {k}" for k, v in document.items() if isinstance(v, list))
    return Verification(status, problems, [f"{schema} signed by key {key_id}: {counts}"])


def verify_file(path: Path, public_key: bytes) -> Verification:
    """`path` against `path`.sig; a package also against the bytes of every file it lists, in its own folder."""
    try:
        with path.open("rb") as document, Path(f"{path}.sig").open("rb") as sig:
            raw = document.read(MAX_BYTES + 1)
            result = verify_document(raw, sig.read(MAX_BYTES + 1), public_key)
    except OSError as e:
        return Verification("missing", [f"{Path(e.filename or path).name}: {e.strerror}"], [])
    if result.status != "ok" or (package := parse_strict(raw))["schema"] != "aispm.package/1":
        return result
    status, problems, listed = "ok", list[str](), {e["path"]: e["sha256"] for e in package["files"]}
    for name, sha256 in sorted(listed.items()):
        if "/" in name or "\\" in name or not (file := path.parent / name).is_file():
            status, problems = "missing" if status == "ok" else status, [*problems, f"{name}: missing"]
        elif hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            inner = verify_file(file, public_key).problems if Path(f"{file}.sig").is_file() else []
            status, problems = "altered", [*problems, f"{name}: altered", *inner]
    extra = {p.name for p in path.parent.iterdir()} - {*listed, path.name, f"{path.name}.sig"}
    return Verification(
        status, problems, result.notes + [f"{n}: not in the package, not checked" for n in sorted(extra)]
    )


def load_public_key(path: Path) -> bytes:
    """The 32 bytes in a `.pub` file: `ed25519 <64 hex digits> <name>`. Raises ValueError or OSError."""
    if (found := re.fullmatch(rb"ed25519 ([0-9a-f]{64}) [\w.-]+\n?", path.read_bytes()[:1024])) is None:
        raise ValueError(f"{path}: not a public key file of the form `ed25519 <64 hex digits> <name>`")
    return bytes.fromhex(found[1].decode())


def main() -> int:
    """Command line. Output is escaped, so that no altered row can steer the terminal."""
    parser = argparse.ArgumentParser(description="verify a signed aispm document")
    parser.add_argument("file", type=Path, help="posture.json or package.json; its .sig lies beside it")
    parser.add_argument("--key", type=Path, required=True, help="public key that you were given on another way")
    args = parser.parse_args()
    try:
        result = verify_file(args.file, load_public_key(args.key))
    except (OSError, ValueError) as e:
        parser.error(str(e))
    lines = [f"problem: {p}" for p in result.problems[:50]] + [f"note: {n}" for n in result.notes]
    more = [f"and {len(result.problems) - 50} more problems"] if len(result.problems) > 50 else []
    for line in [*lines, *more, f"{args.file.name}: {'VERIFIED' if result.status == 'ok' else result.status.upper()}"]:
        sys.stdout.write("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) + "\n")
    return 0 if result.status == "ok" else 5


if __name__ == "__main__":
    sys.exit(main())
