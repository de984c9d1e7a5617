"""What all files of commands share: the options before the sub-command, and how they answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tasks.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


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


def emit(document: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(document, ensure_ascii=False, default=str))


def say(line: object) -> None:
    """One line for people; it may hold data of the estate, so control characters are made visible."""
    from flows.closing import inert

    typer.echo(inert(line))
