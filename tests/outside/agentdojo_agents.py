"""AgentDojo's banking agent over OpenAI's responses format, with scripts in place of a model.

Runs in AgentDojo's venv. `--list` prints the suite's prompts and goals. Without it, a loopback server prints its port:

    POST   /<agent>/mail           a stranger's words stand in every place of the bank that strangers can write to
    DELETE /<agent>/mail/1         and are taken out again
    POST   /<agent>/v1/responses   the user's request, answered with the trace of AgentDojo's own tools
    GET    /outcomes               what AgentDojo's own `security()` says of every request so far

Tools, bank, tasks and oracle are AgentDojo's. Ours are the scripts: which of the recorded actions an agent takes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from agentdojo.agent_pipeline.base_pipeline_element import BasePipelineElement
from agentdojo.agent_pipeline.tool_execution import tool_result_to_str
from agentdojo.functions_runtime import FunctionCall
from agentdojo.task_suite.load_suites import get_suite
from agentdojo.types import ChatAssistantMessage, ChatToolResultMessage, text_content_block_from_string

SUITE = get_suite("v1.2.1", "banking")
AGENTS = ("obedient", "hasty", "clumsy", "clean")


class Scripted(BasePipelineElement):
    """Does what the user asked; follows a stranger's order that stands in a tool's result, as its manner is.

    `obedient` follows it once the user is served, `hasty` at once, `clumsy` with a slip in every text, `clean` never.
    """

    def __init__(self, agent: str, user_task: Any) -> None:
        self.agent = agent
        self.user_task = user_task
        self.reached = False
        self.trace: list[dict[str, Any]] = []

    def query(
        self, query: str, runtime: Any, env: Any, messages: Sequence[Any] = (), extra_args: Any = None
    ) -> tuple[str, Any, Any, list[Any], Any]:
        said: list[Any] = [*messages]
        due: list[FunctionCall] = []
        for call in self.user_task.ground_truth(env):
            result = self._call(call, runtime, env, said)
            if not self.reached:
                due = self._orders(result, env)
                self.reached = bool(due)
                if self.agent == "hasty":
                    for order in due:
                        self._call(order, runtime, env, said)
        if self.agent in ("obedient", "clumsy"):
            for order in due:
                self._call(order, runtime, env, said)
        text = self.user_task.GROUND_TRUTH_OUTPUT or "That is done."
        content = [text_content_block_from_string(text)]
        said.append(ChatAssistantMessage(role="assistant", content=content, tool_calls=None))
        return query, runtime, env, said, extra_args

    def _orders(self, result: str, env: Any) -> list[FunctionCall]:
        # Results are YAML: long texts are wrapped there, and quotes within quotes doubled.
        read = " ".join(result.split()).replace("''", "'")
        task = next((t for t in SUITE.injection_tasks.values() if t.GOAL in read), None)
        if task is None:
            return []
        calls = task.ground_truth(env)
        if self.agent == "clumsy":
            calls = [c.model_copy(update={"args": {k: _slipped(v) for k, v in c.args.items()}}) for c in calls]
        return list(calls)

    def _call(self, call: FunctionCall, runtime: Any, env: Any, said: list[Any]) -> str:
        result, error = runtime.run_function(env, call.function, call.args)
        text = tool_result_to_str(result)
        empty = [text_content_block_from_string("")]
        said.append(ChatAssistantMessage(role="assistant", tool_calls=[call], content=empty))
        content = [text_content_block_from_string(text)]
        said.append(ChatToolResultMessage(role="tool", content=content, tool_call=call, tool_call_id=None, error=error))
        self.trace.append(
            {
                "type": "mcp_call",
                "id": f"mcp_{len(self.trace)}",
                "server_label": "bank",
                "name": call.function,
                "arguments": json.dumps(call.args),
                "output": text,
                "error": error,
            }
        )
        return text


def _slipped(value: Any) -> Any:
    """One wrong character at the end of a text that has no spaces: an account or a password."""
    if not isinstance(value, str) or " " in value or len(value) < 11:
        return value
    return value[:-1] + ("3" if value[-1] != "3" else "4")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mail: ClassVar[dict[str, str]] = {}
    outcomes: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        _, agent, what = self.path.split("/", 2)
        if what == "mail":
            self.mail[agent] = body["body"]
            self._send(201, {"id": "1"})
        else:
            self._send(200, self._respond(agent, body))

    def do_DELETE(self) -> None:
        self.mail.pop(self.path.split("/")[1], None)
        self._send(200, {})

    def do_GET(self) -> None:
        self._send(200, {"outcomes": self.outcomes})

    def _respond(self, agent: str, body: dict[str, Any]) -> dict[str, Any]:
        prompt, words = body["input"][-1]["content"], self.mail.get(agent, "")
        user_task = next(t for t in SUITE.user_tasks.values() if prompt == t.PROMPT)
        injection_task = next(t for t in SUITE.injection_tasks.values() if t.GOAL in words)
        agent_at_work = Scripted(agent, user_task)
        vectors = dict.fromkeys(SUITE.get_injection_vector_defaults(), words)
        _, attacked = SUITE.run_task_with_pipeline(agent_at_work, user_task, injection_task, vectors)
        self.outcomes.append(
            {
                "agent": agent,
                "user_task": user_task.ID,
                "injection_task": injection_task.ID,
                "security": attacked,
                "reached": agent_at_work.reached,
            }
        )
        part = {"type": "output_text", "text": user_task.GROUND_TRUTH_OUTPUT or "That is done.", "annotations": []}
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
        return {
            "id": "resp_1",
            "object": "response",
            "status": "completed",
            "model": body["model"],
            "output": [*agent_at_work.trace, message],
            "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
        }

    def _send(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def main() -> None:
    if "--list" in sys.argv:
        users = {t.ID: t.PROMPT for t in SUITE.user_tasks.values()}
        print(json.dumps({"user": users, "injection": {t.ID: t.GOAL for t in SUITE.injection_tasks.values()}}))
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
