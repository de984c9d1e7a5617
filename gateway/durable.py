"""Small files that must survive a crash whole."""

from __future__ import annotations

import os
from pathlib import Path


def replace_durably(path: Path, raw: bytes) -> None:
    """Write `raw` to `path` so that after a crash either the old or the new content is there, never a mix."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")  # several processes may write the same file
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, raw)
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
