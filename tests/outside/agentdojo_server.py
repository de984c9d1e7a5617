"""AgentDojo's own tools of one suite as an MCP server over stdio. Runs in a venv that holds `agentdojo` alone."""

from __future__ import annotations

import json
import sys
from typing import Any

from agentdojo.task_suite.load_suites import get_suite


def answer(method: str, tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    if method == "initialize":
        return {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": f"agentdojo-{sys.argv[1]}", "version": "1"},
        }
    return {"tools": tools} if method == "tools/list" else {} if method == "ping" else None


def main() -> None:
    suite = get_suite("v1.2.1", sys.argv[1])
    tools = [
        {"name": tool.name, "description": tool.description, "inputSchema": tool.parameters.model_json_schema()}
        for tool in suite.tools
    ]
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = answer(message["method"], tools)
        body = {"result": result} if result is not None else {"error": {"code": -32601, "message": "unknown method"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}), flush=True)


if __name__ == "__main__":
    main()
