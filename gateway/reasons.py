"""Reason codes and the one exception that carries them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Reason:
    """One code of `reason_codes.yaml`."""

    code: str
    status: int
    says: str
    """Completes `Blocked by policy: …`; holds no client text."""
    details: dict[str, int]


@cache
def reasons() -> dict[str, Reason]:
    """All codes, read once."""
    data: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("reason_codes.yaml").read_text(encoding="utf-8"))
    return {code: Reason(code, e["status"], e["says"], e.get("details", {})) for code, e in data.items()}


class Refusal(Exception):  # noqa: N818 - a decision, not an error
    """The client does not get what it asked for. Raised with a code and detail of `reason_codes.yaml` only."""

    def __init__(
        self, code: str, detail: str | None = None, scope: str = "request", retry_after: int | None = None
    ) -> None:
        """`retry_after`: seconds after which the same request may succeed."""
        reason = reasons()[code]
        super().__init__(f"{code} {detail or ''}".strip())
        self.code, self.detail, self.scope = code, detail, scope
        self.status = reason.status if detail is None else reason.details[detail]
        self.says = reason.says
        self.retry_after = retry_after
