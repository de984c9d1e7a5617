"""Everything an auditor takes away from one run, written so that a reader never meets half of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import AispmError
from tasks.reporting.as_csv import controls_csv, findings_csv
from tasks.reporting.as_html import render_html
from tasks.reporting.as_json import canonical_bytes
from tasks.reporting.as_pdf import render_pdf
from tasks.reporting.schema import SCHEMA, require_posture
from tasks.reporting.signing import Signer, sign_document

PACKAGE = "aispm.package/1"


@dataclass(frozen=True, slots=True)
class ReportFiles:
    folder: Path
    posture: Path
    """The signed document; its signature lies beside it as `posture.json.sig`."""
    html: Path
    pdf: Path | None
    """None when the PDF could not be rendered; `pdf_failure` then says why, and the package holds the rest."""
    findings_csv: Path
    controls_csv: Path
    package: Path
    """`package.json`: the digest of every other file; signed as well."""
    public_key: Path
    posture_sha256: str
    pdf_failure: str | None


def write_report(posture: Mapping[str, Any], folder: Path, signer: Signer, *, pdf_timeout_s: int = 60) -> ReportFiles:
    """Render, sign and write `posture` into `folder` (made when absent); files of an earlier report are replaced.

    Each file appears complete or not at all, and `package.json.sig` last: a crash in between leaves a folder that
    does not verify. Other files in the folder stay. The same posture and key give the same bytes.
    Raises ConfigError when `posture` is not a valid `aispm.posture/1`, ValueError when it holds floats.
    """
    require_posture(posture)
    raw = canonical_bytes(posture)
    sha256 = hashlib.sha256(raw).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
    try:
        public = f"{signer.name}.pub"
        texts: dict[str, str] = {
            "posture.json.sig": sign_document(raw, SCHEMA, signer),
            "posture.html": render_html(posture, document_sha256=sha256, key_id=signer.key_id),
            "findings.csv": findings_csv(posture),
            "controls.csv": controls_csv(posture),
            "verify.py": (Path(__file__).parent / "verify.py").read_text(encoding="utf-8"),
            "README.txt": _readme(posture, sha256, signer, public),
            public: signer.public_text,
        }
        (staging / "posture.json").write_bytes(raw)
        for name, text in texts.items():
            # Data was cleaned of surrogates by each renderer; newlines are the renderers' own on every platform.
            (staging / name).write_bytes(text.encode())
        failure = None
        try:
            render_pdf(staging / "posture.json", staging / "posture.pdf", timeout_s=pdf_timeout_s, key_id=signer.key_id)
        except AispmError as e:
            failure = str(e)
            (staging / "posture.pdf").unlink(missing_ok=True)
        package = canonical_bytes({
            "schema": PACKAGE,
            "files": [
                {"path": p.name, "sha256": hashlib.sha256(p.read_bytes()).hexdigest(), "bytes": p.stat().st_size}
                for p in sorted(staging.iterdir())
            ],
        })  # fmt: skip
        (staging / "package.json").write_bytes(package)
        (staging / "package.json.sig").write_bytes(sign_document(package, PACKAGE, signer).encode())
        _publish(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return ReportFiles(
        folder=folder,
        posture=folder / "posture.json",
        html=folder / "posture.html",
        pdf=None if failure else folder / "posture.pdf",
        findings_csv=folder / "findings.csv",
        controls_csv=folder / "controls.csv",
        package=folder / "package.json",
        public_key=folder / public,
        posture_sha256=sha256,
        pdf_failure=failure,
    )


def _publish(staging: Path, folder: Path) -> None:
    names = sorted(p.name for p in staging.iterdir())
    names.sort(key=lambda name: name.startswith("package.json"))  # stable: package.json, then its signature, last
    for name in names:
        with (staging / name).open("rb") as file:
            os.fsync(file.fileno())
    if "posture.pdf" not in names:
        (folder / "posture.pdf").unlink(missing_ok=True)  # an older run's PDF beside this run's data would mislead
    for name in names:
        (staging / name).replace(folder / name)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _readme(posture: Mapping[str, Any], sha256: str, signer: Signer, public: str) -> str:
    run, labels = posture["run"], posture["labels"]
    demo = "DEMO: the estate under test was built for demonstration.\n" if run["demo"] else ""
    return f"""AI security posture report
==========================
Run {run["run_id"]}, {labels["judges"]}.
{demo}
posture.json       the findings document; everything else renders it
posture.json.sig   its Ed25519 signature, with one digest per row
posture.html       for reading on a screen (one file, no script, fetches nothing); the accessible edition
posture.pdf        the same, condensed, for printing and filing (absent when it could not be rendered)
findings.csv       one line per finding
controls.csv       one line per control, in six states counted apart
verify.py          checks signatures; needs Python 3.11 or later and PyNaCl, not aispm
package.json       size and SHA-256 of every file above; signed in package.json.sig
{public:<18} the public key, for convenience only: see below

How to verify
-------------
1. Obtain the public key from its owner on another way than this folder. A forger who replaces the report can replace
   {public} too. The key id you expect: {signer.key_id}
2. pip install pynacl
3. python verify.py package.json --key YOUR_COPY.pub
   python verify.py posture.json --key YOUR_COPY.pub
   Exit code 0 means verified, 5 not verified. An altered row is named by section, number and id.
4. posture.json must have the SHA-256 that the HTML and PDF print on their first page:
   {sha256}

How to read it
--------------
"Not tested" says nothing either way and is never part of "clean". Unknown is never a pass. Rates carry n and a 95 %
Wilson interval. A mapping "counts as evidence toward" a control; it never means that the control is satisfied.
Spreadsheet cells that would run as a formula start with an apostrophe.
"""
