"""The options before the sub-command, for all files of commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.settings import Settings


@dataclass
class Invocation:
    """The options before the sub-command."""

    home: Path | None = None
    config: Path | None = None
    verbose: bool = False

    def settings(self, **overrides: Any) -> Settings:
        from tasks.settings import load_settings

        return load_settings(self.config, home=self.home, **overrides)

    def command(self) -> str:
        """How to call aispm again with the same settings."""
        from flows.closing import relative

        parts = ["aispm"]
        parts += ["--config", relative(self.config)] if self.config else []
        parts += ["--home", relative(self.home)] if self.home else []
        return " ".join(parts)


invocation = Invocation()
