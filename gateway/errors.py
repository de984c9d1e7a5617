"""Base errors and exit codes of all rings.

AispmError                 exit 1
├── ConfigError            exit 2   bad settings, inventory, probe or mapping: fix the file
├── IncompleteError        exit 4   a target, judge or budget stopped the run short
└── VerificationError      exit 5   a signature, hash or root does not hold
"""

from __future__ import annotations

from pathlib import Path


class AispmError(Exception):
    """Something aispm can name; the message says what, where and what to do."""

    exit_code = 1


class ConfigError(AispmError):
    """The user's input is wrong. `path:line` leads the message when it came from a file."""

    exit_code = 2

    def __init__(self, message: str, path: Path | str | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(where + message)
        self.path = path
        self.line = line


class IncompleteError(AispmError):
    """The run could not cover all it set out to cover."""

    exit_code = 4


class VerificationError(AispmError):
    """Evidence was altered, is missing, or is not signed by the expected key."""

    exit_code = 5
