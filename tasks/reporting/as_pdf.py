"""The posture as a PDF for filing: the same content as the HTML page, condensed, same bytes for the same input.

The renderer works on text that attackers may have written, so it runs in a child process with no environment, a
memory limit and a deadline; nothing but this module's own constants is ever read as markup.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import resource
import subprocess
import sys
from pathlib import Path

from reportlab import rl_config

from tasks.errors import IncompleteError
from tasks.reporting.figures import Posture
from tasks.reporting.pdf_layout import Document, fonts
from tasks.reporting.pdf_sections import story
from tasks.reporting.verify import parse_strict

MEMORY_LIMIT = 1 << 30
"""Bytes of address space of the child; 5,000 findings need about a tenth in resident memory."""


def render_pdf(posture_path: Path, out_path: Path, *, timeout_s: int = 60, key_id: str = "") -> None:
    """Write the PDF of a valid `posture.json` to `out_path`; prints its SHA-256 and `key_id`, the signer's.

    Raises IncompleteError when the child takes longer than `timeout_s` seconds, runs out of memory or fails; then
    nothing is left at `out_path`.
    """
    part = out_path.with_name(out_path.name + ".part")
    root = Path(__file__).resolve().parents[2]
    # -P: never import from the current directory. No environment: the child has no business with credentials.
    command = [sys.executable, "-P", "-m", "tasks.reporting.as_pdf", str(posture_path.resolve()), str(part.resolve())]
    environment = {"PYTHONPATH": str(root), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    try:
        done = subprocess.run(
            [*command, "--key-id", key_id, "--seconds", str(timeout_s)],
            env=environment,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0 or not part.exists():
            # Only the exception's type: its message may quote what was being rendered.
            last = done.stderr.decode("ascii", "replace").strip().rpartition("\n")[2].partition(":")[0][:60]
            raise IncompleteError(f"the PDF could not be rendered (exit {done.returncode}, {last or 'no message'})")
        part.replace(out_path)
    except subprocess.TimeoutExpired:
        raise IncompleteError(
            f"the PDF took longer than {timeout_s} s; posture.html and the CSV hold the same"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def build_pdf(posture: Posture, *, document_sha256: str, key_id: str) -> bytes:
    """The PDF's bytes, in this process. Untrusted input belongs in `render_pdf`."""
    rl_config.invariant = 1  # no clock and no random ids in the file
    fonts()
    out = io.BytesIO()
    document = Document(out, posture)
    document.build(story(posture, document_sha256, key_id))
    return out.getvalue()


def main() -> int:
    """The child process: one file in, one file out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("posture", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--key-id", default="")
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (args.seconds, args.seconds))
    raw = args.posture.read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    args.out.write_bytes(build_pdf(parse_strict(raw), document_sha256=sha256, key_id=args.key_id))
    return 0


if __name__ == "__main__":
    sys.exit(main())
