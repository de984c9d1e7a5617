"""Facts read from how a stdio MCP server is started."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_RUNNERS = {"npx": "npm", "bunx": "npm", "pnpx": "npm", "uvx": "pypi", "pipx": "pypi"}
_SHELLS = frozenset({"sh", "bash", "zsh", "dash", "cmd", "cmd.exe", "powershell", "pwsh", "powershell.exe", "fish"})
_REMOTE = re.compile(r"\b(curl|wget|iwr|Invoke-WebRequest)\b.*(\||&&|;)|\beval\b|\$\(|`", re.IGNORECASE)
_VERSION = re.compile(r"(?<=[\w\]])(@|==)v?\d+(\.\d+)*[\w.+-]*$")
_WIDE_ROOT = re.compile(r"^(/|~/?|\$HOME/?|\$\{HOME\}/?|/home/?|/root/?|/etc/?|/Users/?|/home/[^/]+/?|/Users/[^/]+/?"
                        r"|[A-Za-z]:[\\/]?|.*[\\/]\.ssh([\\/].*)?|.*[\\/]\.aws([\\/].*)?)$")  # fmt: skip


def launch_facts(launch: Mapping[str, Any]) -> dict[str, Any]:
    """`launch_unpinned`, `launch_shell`, `launch_wide_roots` of a declared or configured start command."""
    words = [str(w) for w in [*(launch.get("command") or []), *(launch.get("args") or [])]]
    program = re.split(r"[\\/]", words[0])[-1].lower() if words else ""
    text = " ".join(words)
    return {
        "launch_unpinned": _unpinned(program, words[1:], launch.get("package")),
        "launch_shell": (program in _SHELLS and any(w in ("-c", "/c", "-Command") for w in words))
        or bool(_REMOTE.search(text)),
        "launch_wide_roots": [w for w in words[1:] if _WIDE_ROOT.match(w.partition("=")[2] or w)],
    }


def _unpinned(program: str, args: list[str], package: Any) -> bool:
    """Whether the next start may run other code than the last one did."""
    if program in ("docker", "podman"):
        image = _image(args)
        return image is not None and "@sha256:" not in image
    if program in _RUNNERS:
        names = [a for a in args if not a.startswith("-") and a != "run"]
        return not names or not _VERSION.search(names[0])
    if isinstance(package, str):
        return "@" not in package.rpartition("/")[2]
    return False


def _image(args: list[str]) -> str | None:
    takes_value = {"-e", "--env", "-v", "--volume", "--name", "--network", "-p", "--mount", "-w", "--user", "-u"}
    skip = False
    for arg in args[1:] if args[:1] == ["run"] else []:
        if skip:
            skip = False
        elif arg.startswith("-"):
            skip = arg in takes_value
        else:
            return arg
    return None
