"""What is signed cannot change unnoticed, and the check says what changed."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ConfigError
from tasks.reporting import verify
from tasks.reporting.as_json import canonical_bytes
from tasks.reporting.signing import (
    Signer,
    create_keypair,
    load_or_create_signer,
    load_public_key,
    load_signer,
    sign_document,
    verify_file,
)

DOCUMENT = {
    "schema": "aispm.posture/1",
    "summary": {"score_best": 68, "score_worst": 61},
    "findings": [{"finding_id": f"f{n}", "title": f"title {n}", "hits": n} for n in range(5)],
    "gaps": ["Azure was not read.", "żółć"],
    "quarantined": 0,
}


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    private, _ = create_keypair(tmp_path / "keys", "auditor")
    return load_signer(private)


def signed(signer: Signer, document: dict[str, Any] | None = None) -> tuple[bytes, str]:
    raw = canonical_bytes(document or DOCUMENT)
    return raw, sign_document(raw, (document or DOCUMENT)["schema"], signer)


def check(signer: Signer, raw: bytes, sig: str | bytes) -> verify.Verification:
    return verify.verify_document(raw, sig, signer.public_key)


def altered(signer: Signer, change: Any) -> list[str]:
    """Problems found after `change` was made to a signed copy of DOCUMENT."""
    raw, sig = signed(signer)
    document = json.loads(raw)
    change(document)
    result = check(signer, canonical_bytes(document), sig)
    assert result.status == "altered"
    return result.problems


def test_a_signed_document_verifies_and_says_what_it_holds(signer: Signer) -> None:
    result = check(signer, *signed(signer))
    assert (result.status, result.problems) == ("ok", [])
    assert f"key {signer.key_id}: 5 findings, 2 gaps" in result.notes[0]


def test_signing_is_deterministic(signer: Signer) -> None:
    assert signed(signer) == signed(signer)


def test_every_flipped_byte_of_document_and_signature_is_found(signer: Signer) -> None:
    raw, sig = signed(signer)
    for at in range(len(raw)):
        for bit in (0x01, 0x20, 0x80):
            flipped = bytearray(raw)
            flipped[at] ^= bit
            assert check(signer, bytes(flipped), sig).status == "altered", (at, bit)
    for at in range(len(sig.encode())):
        for bit in (0x01, 0x20, 0x80):
            flipped = bytearray(sig.encode())
            flipped[at] ^= bit
            assert check(signer, raw, bytes(flipped)).status in ("refused", "wrong_key", "bad_signature"), (at, bit)


def test_every_truncation_is_found(signer: Signer) -> None:
    raw, sig = signed(signer)
    for cut in range(len(raw)):
        assert check(signer, raw[:cut], sig).status == "altered"
    for cut in range(len(sig)):
        assert check(signer, raw, sig[:cut]).status == "refused"


def test_an_altered_row_is_named(signer: Signer) -> None:
    assert altered(signer, lambda d: d["findings"][3].update(hits=0)) == ["findings[3] finding_id=f3: altered"]
    assert altered(signer, lambda d: d["summary"].update(score_worst=99)) == ["summary.score_worst: altered"]
    assert altered(signer, lambda d: d.update(quarantined=1)) == ["quarantined: altered"]


def test_missing_and_extra_rows_are_named(signer: Signer) -> None:
    (problem,) = altered(signer, lambda d: d["findings"].pop(1))
    assert problem.startswith("findings[1]: missing (signed sha256 ")
    new = {"finding_id": "f9", "title": "x", "hits": 0}
    assert altered(signer, lambda d: d["findings"].insert(2, new)) == ["findings[2] finding_id=f9: extra, never signed"]
    assert altered(signer, lambda d: d.update(forged=[1])) == ["forged[0]: extra, never signed"]
    gone = altered(signer, lambda d: d.pop("gaps"))
    assert [p.split(":")[0] for p in gone] == ["gaps[0]", "gaps[1]"]


def test_rewriting_without_changing_meaning_is_named_by_byte(signer: Signer) -> None:
    raw, sig = signed(signer)
    result = check(signer, raw.replace(b'"quarantined":0', b'"quarantined": 0'), sig)
    assert result.status == "altered"
    at = raw.index(b":0", raw.index(b"quarantined")) + 1
    said = f"byte {at}: spacing, order or spelling was altered; no row changed its meaning"
    assert result.problems == [said]


def test_broken_json_is_named_by_byte(signer: Signer) -> None:
    raw, sig = signed(signer)
    at = raw.index("żółć".encode()) + len("żółć".encode())
    assert raw[at : at + 1] == b'"'
    result = check(signer, raw[: at + 1] + b"!" + raw[at + 1 :], sig)
    assert result.problems[0].startswith(f"byte {at + 1}: not valid JSON any more")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a":1,"a":2}', "same key twice"),
        ('{"a":NaN}', "not an integer"),
        ('{"a":1.5}', "not an integer"),
        ('{"a":1e3}', "not an integer"),
        ('{"a":9007199254740992}', "not an integer up to"),
        ('{"a":' + "9" * 5000 + "}", "not an integer up to"),
        ("[" * 65 + "]" * 65, "nested deeper than 64"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "nested deeper than 64"),
        ("[1]", "not a JSON object"),
        ('{"a":"\\ud800"}', "surrogates not allowed"),
    ],
)
def test_only_strict_json_is_read(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        verify.parse_strict(text.encode())


def test_depth_64_is_still_read() -> None:
    assert verify.parse_strict(('{"a":' + "[" * 62 + "1" + "]" * 62 + "}").encode())


def test_a_document_above_64_mib_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 67108864"):
        verify.parse_strict(b" " * (verify.MAX_BYTES + 1))


def test_another_key_does_not_verify(signer: Signer, tmp_path: Path) -> None:
    other = load_signer(create_keypair(tmp_path, "other")[0])
    raw, sig = signed(signer)
    result = verify.verify_document(raw, sig, other.public_key)
    assert result.status == "wrong_key"
    forged = json.loads(sig)
    forged["key_id"] = other.key_id
    result = verify.verify_document(raw, canonical_bytes(forged) + b"\n", other.public_key)
    assert result.status == "bad_signature"


def test_unknown_schemas_are_neither_signed_nor_read(signer: Signer) -> None:
    document = {**DOCUMENT, "schema": "aispm.posture/2"}
    with pytest.raises(ValueError, match="cannot sign schema"):
        sign_document(canonical_bytes(document), "aispm.posture/2", signer)
    with pytest.raises(ValueError, match="cannot sign schema"):
        sign_document(canonical_bytes(DOCUMENT), "aispm.package/1", signer)
    raw, sig = signed(signer)
    assert check(signer, raw, sig.replace("aispm.posture/1", "aispm.posture/2")).status == "refused"


def test_a_missing_signature_is_missing_not_ok(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "posture.json").write_bytes(signed(signer)[0])
    assert verify_file(tmp_path / "posture.json", signer.public_key).status == "missing"


def small_package(signer: Signer, folder: Path, document: dict[str, Any] | None = None) -> Path:
    """A package of three short files with a signed posture among them."""
    folder.mkdir(exist_ok=True)
    raw, sig = signed(signer, document)
    files = {"posture.json": raw, "posture.json.sig": sig.encode(), "findings.csv": b'"finding_id"\r\n"f0"\r\n'}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    package = canonical_bytes(
        {
            "schema": "aispm.package/1",
            "files": [{"path": n, "sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in files.items()],
        }
    )
    (folder / "package.json").write_bytes(package)
    (folder / "package.json.sig").write_text(sign_document(package, "aispm.package/1", signer), encoding="utf-8")
    return folder / "package.json"


def test_every_flipped_byte_of_a_package_is_found(signer: Signer, tmp_path: Path) -> None:
    tiny = {"schema": "aispm.posture/1", "findings": [{"finding_id": "f0"}]}
    package = small_package(signer, tmp_path / "out", tiny)
    assert verify_file(package, signer.public_key).status == "ok"
    for file in sorted(package.parent.iterdir()):
        content = file.read_bytes()
        for at in range(len(content)):
            flipped = bytearray(content)
            flipped[at] ^= 0x01
            file.write_bytes(bytes(flipped))
            assert verify_file(package, signer.public_key).status != "ok", (file.name, at)
        file.write_bytes(content)
    assert verify_file(package, signer.public_key).status == "ok"


def test_a_package_names_altered_missing_and_unlisted_files(signer: Signer, tmp_path: Path) -> None:
    package = small_package(signer, tmp_path / "out")
    document = json.loads((package.parent / "posture.json").read_bytes())
    document["findings"][2]["title"] = "harmless"
    (package.parent / "posture.json").write_bytes(canonical_bytes(document))
    (package.parent / "findings.csv").unlink()
    (package.parent / "posture2.html").write_text("forged", encoding="utf-8")
    result = verify_file(package, signer.public_key)
    assert result.status == "altered"
    assert result.problems == [
        "findings.csv: missing",
        "posture.json: altered",
        "findings[2] finding_id=f2: altered",
    ]
    assert "posture2.html: not in the package, not checked" in result.notes


def test_a_package_cannot_point_outside_its_folder(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    folder = tmp_path / "out"
    folder.mkdir()
    raw = canonical_bytes({"schema": "aispm.package/1", "files": [{"path": "../secret", "sha256": "0", "bytes": 1}]})
    (folder / "package.json").write_bytes(raw)
    (folder / "package.json.sig").write_text(sign_document(raw, "aispm.package/1", signer), encoding="utf-8")
    assert verify_file(folder / "package.json", signer.public_key).problems == ["../secret: missing"]


def run_alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`verify.py` copied away from the product, in an isolated interpreter."""
    script = Path(shutil.copy(Path(verify.__file__), folder / "verify.py"))
    command = [sys.executable, "-I", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_verify_runs_without_the_product(signer: Signer, tmp_path: Path) -> None:
    package = small_package(signer, tmp_path / "out")
    key = tmp_path / "keys" / "auditor.pub"
    done = run_alone(tmp_path, str(package), "--key", str(key))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "package.json: VERIFIED")
    posture = package.parent / "posture.json"
    posture.write_bytes(posture.read_bytes().replace(b'"title 3"', '"\\u001b[2J\u202e"'.encode()))
    done = run_alone(tmp_path, str(posture), "--key", str(key))
    assert done.returncode == 5
    assert done.stdout.splitlines()[0] == "problem: findings[3] finding_id=f3: altered"
    done = run_alone(tmp_path, str(posture), "--key", str(posture))
    assert done.returncode == 2


def test_verify_output_cannot_steer_a_terminal(signer: Signer, tmp_path: Path) -> None:
    raw, sig = signed(signer)
    document = json.loads(raw)
    document["findings"][0]["finding_id"] = "\x1b]0;owned\x07\u202e"
    (tmp_path / "posture.json").write_bytes(canonical_bytes(document))
    (tmp_path / "posture.json.sig").write_text(sig, encoding="utf-8")
    done = run_alone(tmp_path, "posture.json", "--key", str(tmp_path / "keys" / "auditor.pub"))
    assert done.stdout.splitlines()[0] == "problem: findings[0] finding_id=\\x1b]0;owned\\x07\\u202e: altered"


def test_verify_stays_short_and_needs_only_pynacl() -> None:
    source = Path(verify.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source)
    imported = {
        (n.module or "") if isinstance(n, ast.ImportFrom) else n.names[0].name
        for n in ast.walk(tree)
        if isinstance(n, ast.Import | ast.ImportFrom)
    }
    roots = {name.split(".")[0] for name in imported}
    assert roots - set(sys.stdlib_module_names) == {"nacl"}
    docs = {
        line
        for n in ast.walk(tree)
        if isinstance(n, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(n)
        for line in range(n.body[0].lineno, (n.body[0].end_lineno or 0) + 1)
    }
    code = [n for n, line in enumerate(source.splitlines(), 1) if line.strip() and n not in docs]
    assert len(code) <= 150, "an auditor must be able to read it in one sitting"


def test_private_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    private, public = create_keypair(tmp_path / "keys", "nightly")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert load_public_key(public) == load_signer(private).public_key
    with pytest.raises(ConfigError, match="exists"):
        create_keypair(tmp_path / "keys", "nightly")
    with pytest.raises(ConfigError, match="key name"):
        create_keypair(tmp_path / "keys", "../evil")


def test_a_missing_signer_is_created_once(tmp_path: Path) -> None:
    assert load_or_create_signer(tmp_path / "keys").key_id == load_or_create_signer(tmp_path / "keys").key_id


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    private, _ = create_keypair(tmp_path, "k")
    private.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_signer(private)


def test_a_signer_never_shows_its_key(signer: Signer, tmp_path: Path) -> None:
    secret = (tmp_path / "keys" / "auditor.key").read_text(encoding="ascii").split()[1]
    assert secret not in repr(signer)
    assert secret not in "".join(signed(signer)[1])


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**53, {1: 2}, {3}, b"x"])
def test_values_without_one_reading_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"\$\.rows\[1\]"):
        canonical_bytes({"rows": [0, value]})


def test_a_lone_surrogate_cannot_stop_a_report() -> None:
    assert canonical_bytes({"a": "x\ud800"}) == '{"a":"x\ufffd"}'.encode()
