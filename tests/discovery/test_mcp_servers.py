"""The MCP source against real servers: one over HTTP built with the SDK, one third-party server over stdio."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tasks.discovery import SourceContext, asset_rows, discover, load_inventory
from tasks.discovery.source import utc_now
from tasks.discovery.tool_definitions import definition_sha256, listing_sha256
from tasks.records import AssetKind, Completeness, SourceResult
from tasks.settings import DiscoverySettings, Settings

HOSTILE = "'; drop table lake.assets; -- <script>alert(1)</script> ${jndi:ldap://x} \u202e"


def sample_server(secure: bool) -> Any:
    server = MCPServer("bank-tools", version="1.2.3", instructions="Use these tools for the bank.")

    @server.tool(description="Gets the balance of one account.")
    def get_balance(account: str) -> str:
        return "0"

    @server.tool(name="odd", description=HOSTILE)
    def odd(text: str = "x") -> str:
        return text

    @server.prompt(description="Greets a customer.")
    def greet() -> str:
        return "hello"

    @server.resource("bank://terms", description="The terms.")
    def terms() -> str:
        return "terms"

    guard = TransportSecuritySettings(
        enable_dns_rebinding_protection=secure, allowed_hosts=["127.0.0.1:*"], allowed_origins=["http://127.0.0.1:*"]
    )
    return server.streamable_http_app(transport_security=guard)


@contextmanager
def serving(app: Any, key: str | None = None) -> Iterator[str]:
    """The app on a port of the system's choice, behind a bearer key if one is given."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers") or [])
        if scope["type"] == "http" and key and headers.get(b"authorization") != f"Bearer {key}".encode():
            await PlainTextResponse("no", status_code=401)(scope, receive, send)
        else:
            await app(scope, receive, send)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(guarded, log_level="critical", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        server.should_exit = True
        thread.join(10)


def read(tmp_path: Path, entry: str, timeout: float = 10) -> list[SourceResult]:
    path = tmp_path / "inventory.yaml"
    path.write_text(f"schema: aispm.inventory/1\nassets:\n  - {entry}\n", encoding="utf-8")
    settings = Settings(discovery=DiscoverySettings(timeout_s=timeout))
    return discover("mcp_servers", SourceContext(settings, load_inventory(path)))


def test_a_server_is_listed_over_http_with_its_credential(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k-123")
    with serving(sample_server(secure=True), key="k-123") as url:
        [result] = read(
            tmp_path,
            f"{{id: mcp/bank, kind: mcp_server, active: true, keys: {{url: '{url}'}},"
            f" props: {{credential: 'file:{tmp_path}/key'}}}}",
        )
    assert (result.completeness, result.reason) == (Completeness.FULL, "")
    server, *tools = result.observations
    assert server.props["status_without_credential"] == 401
    assert server.props["status_foreign_origin"] == 403
    assert server.props["protocol_version"] >= "2025-11-25"
    assert server.props["server_name"] == "bank-tools"
    assert server.props["instructions"] == "Use these tools for the bank."
    assert [p["name"] for p in server.props["prompts"]] == ["greet"]
    assert [r["uri"] for r in server.props["resources"]] == ["bank://terms"]
    assert sorted(t.name for t in tools) == ["get_balance", "odd"]
    assert {t.kind for t in tools} == {AssetKind.TOOL}
    definitions = [t.props["definition"] for t in tools]
    assert [t["sha256"] for t in server.props["tools"]] == [definition_sha256(d) for d in definitions]
    assert server.props["tools_sha256"] == listing_sha256(reversed(definitions))
    assert "k-123" not in repr(result)
    rows = asset_rows([result], [], "r", utc_now())
    assert len(rows["tool_versions"]) == len(rows["edges"]) == 2


def test_hostile_text_stays_data(tmp_path: Path) -> None:
    with serving(sample_server(secure=True)) as url:
        [result] = read(tmp_path, f"{{id: mcp/bank, kind: mcp_server, keys: {{url: '{url}'}}}}")
    [odd] = [o for o in result.observations if o.name == "odd"]
    assert odd.props["definition"]["description"] == HOSTILE


def test_an_open_server_that_takes_any_origin_is_recorded_as_such(tmp_path: Path) -> None:
    with serving(sample_server(secure=False)) as url:
        [result] = read(tmp_path, f"{{id: mcp/bank, kind: mcp_server, active: true, keys: {{url: '{url}'}}}}")
    props = result.observations[0].props
    assert (props["status_without_credential"], props["status_foreign_origin"]) == (200, 200)


def test_no_request_beyond_listing_without_permission(tmp_path: Path) -> None:
    with serving(sample_server(secure=False)) as url:
        [result] = read(tmp_path, f"{{id: mcp/bank, kind: mcp_server, keys: {{url: '{url}'}}}}")
    assert not {"status_without_credential", "status_foreign_origin"} & set(result.observations[0].props)


def test_a_server_that_refuses_the_key_is_an_error_not_an_empty_listing(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("wrong")
    with serving(sample_server(secure=True), key="right") as url:
        [result] = read(
            tmp_path,
            f"{{id: a, kind: mcp_server, keys: {{url: '{url}'}}, props: {{credential: 'file:{tmp_path}/key'}}}}",
        )
    assert result.completeness == Completeness.ERROR
    assert result.observations == ()
    assert "wrong" not in result.reason


async def garbage(request: Request) -> Response:
    return PlainTextResponse("{]" * 100, media_type="application/json")


def test_garbage_is_an_error(tmp_path: Path) -> None:
    with serving(Starlette(routes=[Route("/mcp", garbage, methods=["POST", "GET", "DELETE"])])) as url:
        [result] = read(tmp_path, f"{{id: a, kind: mcp_server, keys: {{url: '{url}'}}}}", timeout=2)
    assert result.completeness == Completeness.ERROR
    assert result.reason


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        entry = f"{{id: a, kind: mcp_server, active: true, keys: {{url: '{url}'}}}}"
        [result] = read(tmp_path, entry, timeout=0.3)
    assert result.completeness == Completeness.ERROR
    assert result.reason


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/mcp"
    [result] = read(tmp_path, f"{{id: a, kind: mcp_server, keys: {{url: '{url}'}}}}", timeout=2)
    assert result.completeness == Completeness.ERROR


def test_metadata_addresses_are_not_contacted(tmp_path: Path) -> None:
    [result] = read(tmp_path, "{id: a, kind: mcp_server, keys: {url: 'http://169.254.169.254/mcp'}}", timeout=2)
    assert result.completeness == Completeness.ERROR
    assert "link-local" in result.reason


def test_a_stdio_server_is_started_with_consent_and_stopped(tmp_path: Path) -> None:
    [result] = read(
        tmp_path,
        "{id: mcp/time, kind: mcp_server, launch: {package: 'pkg:pypi/mcp-server-time@2026.10.19',"
        " command: [mcp-server-time], args: [], consent: true}}",
        timeout=30,
    )
    assert result.completeness == Completeness.FULL, result.reason
    assert sorted(o.name for o in result.observations[1:]) == ["convert_time", "get_current_time"]
    assert result.observations[0].props["transport"] == "stdio"


def test_a_stdio_server_is_not_started_without_consent(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    [result] = read(tmp_path, f"{{id: a, kind: mcp_server, launch: {{command: [touch, '{marker}']}}}}")
    assert result.completeness == Completeness.DENIED
    assert "consent" in result.reason
    assert not marker.exists()


def test_a_child_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = tmp_path / "hang.sh"
    pids = tmp_path / "pids"
    script.write_text(f"trap '' TERM\necho $$ > {pids}\nsleep 600 &\necho $! >> {pids}\nwait\n")
    [result] = read(
        tmp_path, f"{{id: a, kind: mcp_server, launch: {{command: [sh, '{script}'], consent: true}}}}", timeout=0.5
    )
    assert result.completeness == Completeness.ERROR
    for pid in map(int, pids.read_text().split()):
        assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    if state == "Z":
        return False
    os.kill(pid, signal.SIGKILL)
    return True


@pytest.mark.parametrize("command", ["[does-not-exist-anywhere]", "['false']"])
def test_a_command_that_fails_is_an_error(tmp_path: Path, command: str) -> None:
    [result] = read(tmp_path, f"{{id: a, kind: mcp_server, launch: {{command: {command}, consent: true}}}}", timeout=3)
    assert result.completeness == Completeness.ERROR
    assert result.observations == ()
