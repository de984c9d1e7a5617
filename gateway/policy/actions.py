"""What may happen to a hit, and the classes of hits a policy speaks of."""

from __future__ import annotations

from dataclasses import dataclass

ACTIONS = ("allow", "flag", "redact", "block")
"""From weakest to strongest."""
CATEGORIES = ("credentials", "api_keys", "secrets", "pii", "payment_cards", "seed_phrases")
INJECTION = "injection"
"""The category of instructions to the model; what happens to them depends on where they stand."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What happens to a hit, by where it was seen."""

    request: str
    response: str
