"""Errors of the task ring; the tree's root and exit codes are in `gateway/errors.py`.

AispmError
├── ConfigError
├── IncompleteError
├── VerificationError
├── LakeError           exit 1   the lake refused a write or holds what it should not
└── StoppedError        exit 130 asked to stop (`tasks/interruption.py`)
"""

from __future__ import annotations

from gateway.errors import AispmError, ConfigError, IncompleteError, VerificationError

__all__ = ["AispmError", "ConfigError", "IncompleteError", "LakeError", "VerificationError"]


class LakeError(AispmError):
    """The evidence lake refused an operation."""
