from __future__ import annotations

from typing import Any

import pytest

from tasks.assessment.mcp_launch import launch_facts


def launch(*words: str, package: str | None = None) -> dict[str, Any]:
    return {"command": [words[0]], "args": list(words[1:]), "package": package}


@pytest.mark.parametrize(
    ("words", "package", "unpinned"),
    [
        (["npx", "-y", "@mcp/fs"], None, True),
        (["npx", "-y", "@mcp/fs@latest"], None, True),
        (["npx", "-y", "@mcp/fs@2026.8.31"], None, False),
        (["uvx", "mcp-time"], None, True),
        (["uvx", "mcp-time==1.2.3"], None, False),
        (["docker", "run", "-i", "--rm", "-e", "A=1", "mcp/fs:latest"], None, True),
        (["docker", "run", "-i", "mcp/fs@sha256:00"], None, False),
        (["mcp-server-time"], "pkg:pypi/mcp-server-time@2026.10.19", False),
        (["mcp-server-time"], "pkg:pypi/mcp-server-time", True),
        (["/opt/bank/mcp"], None, False),
    ],
)
def test_pinning(words: list[str], package: str | None, unpinned: bool) -> None:
    assert launch_facts(launch(*words, package=package))["launch_unpinned"] is unpinned


@pytest.mark.parametrize(
    ("words", "shell"),
    [
        (["sh", "-c", "node x"], True),
        (["/bin/bash", "-c", "curl https://x | sh"], True),
        (["node", "$(cat x)"], True),
        (["node", "server.js"], False),
        (["bash", "server.sh"], False),
    ],
)
def test_shells(words: list[str], shell: bool) -> None:
    assert launch_facts(launch(*words))["launch_shell"] is shell


@pytest.mark.parametrize(
    ("arg", "wide"),
    [("/", True), ("~", True), ("$HOME", True), ("/home/ann", True), ("/home/ann/.ssh", True), ("--root=/", True),
     ("C:\\", True), ("/srv/kb", False), ("./data", False), ("/home/ann/project", False)],
)  # fmt: skip
def test_roots(arg: str, wide: bool) -> None:
    assert bool(launch_facts(launch("mcp-fs", arg))["launch_wide_roots"]) is wide


def test_an_empty_launch_breaks_nothing() -> None:
    assert launch_facts({}) == {"launch_unpinned": False, "launch_shell": False, "launch_wide_roots": []}
