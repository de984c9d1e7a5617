"""How the mind picks a tool for a request and fills in its arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.estate.phrases import pattern
from tasks.estate.semantics import _ACCOUNT, _ADDRESS, _AMOUNT, Act, Deed, quoted


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema of the arguments."""

    @property
    def properties(self) -> Mapping[str, Any]:
        found = self.parameters.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def required(self) -> Sequence[str]:
        found = self.parameters.get("required")
        return found if isinstance(found, list) else []

    @property
    def power(self) -> str:
        """money, delete, send, exec, admin, write or read, by the tool's name."""
        for power, named in _POWERS:
            if re.search(rf"(?<![a-z])(?:{named})", self.name, re.IGNORECASE):
                return power
        return "read"

    def text(self) -> str:
        """Every string a model sees of this tool."""
        return self.description + "\n" + self.schema_text()

    def schema_text(self) -> str:
        """The strings of its arguments: descriptions, listed values, defaults, long names."""
        return "\n".join(_strings(self.parameters))

    @property
    def server(self) -> str:
        """The MCP server it comes from, where the client says so in the name: `server__tool`."""
        return self.name.partition("__")[0] if "__" in self.name else ""

    @property
    def base_name(self) -> str:
        return self.name.partition("__")[2] or self.name


_POWERS = (
    (
        "admin",
        (
            r"admin|grant|role|permission|impersonat|sudo|all_customers|export_all|policy|config|allowlist"
            r"|disable|freeze|override|privilege"
        ),
    ),
    ("exec", r"exec|shell|command|eval|run_|python|script|code"),
    ("delete", r"delete|remove|drop|close|cancel|purge|erase|wipe|revoke|terminate|destroy"),
    ("money", r"transfer|pay|wire|refund|withdraw|loan|purchase|buy|order"),
    ("send", r"send|forward|post|publish|notify|reply|share|upload|email_|mail_to|webhook"),
    (
        "write",
        r"update|write|set_|create|add|save|insert|change|edit|modify|store|put_|remember|schedule|install|enable|book",
    ),
)
_TOPICS: tuple[tuple[str, str], ...] = (
    (r"inbox|e-?mail|mail|message", r"mail|message|inbox"),
    (r"balance|how much|account|money", r"balance|account"),
    (r"page|web|site|url|link|article|browse|http", r"page|web|url|fetch|browse|http|site|article"),
    (r"file|document|report|contract|pdf|attachment|note", r"file|document|doc|read|report|note"),
    (r"search|find|look ?up|knowledge|policy|how do|faq", r"search|find|lookup|kb|query|knowledge"),
    (r"calendar|meeting|appointment|schedule|agenda", r"calendar|event|meeting|appointment"),
    (r"customer|profile|client|my (?:address|phone|details|data)", r"customer|profile|client|user|contact|crm"),
    (r"exchange|rate|currency|convert|dollar|usd|chf", r"rate|exchange|currency|fx"),
    (r"transaction|statement|payments?\b|spent", r"transaction|statement|history|payment"),
    (r"ticket|case|complaint|issue", r"ticket|case|issue"),
    (r"weather|forecast", r"weather"),
    (r"transfer|pay\b|wire", r"transfer|pay|wire"),
    (r"delete|remove|close|cancel", r"delete|remove|close|cancel|purge"),
    (r"send|write to|message|forward|reply|tell", r"send|mail|message|post|notify|forward"),
    (r"order|invoice|product|stock|price|review", r"order|invoice|product|stock|price|review|item"),
)  # fmt: skip
_READING = re.compile(
    r"^(?:read|get|list|fetch|search|look|find|open|load|check|query|view|show|retrieve|browse)", re.IGNORECASE
)
_HOSTILE = pattern("hostile")


def hostile(value: str) -> bool:
    """Whether an argument carries syntax of the system behind a tool: SQL, shell, paths, addresses, templates."""
    return bool(_HOSTILE.search(value))


def find(tools: Sequence[Tool], pattern: str) -> Tool | None:
    return next((t for t in tools if re.search(pattern, t.name, re.IGNORECASE)), None)


def source_for(tools: Sequence[Tool]) -> Tool | None:
    """The tool that yields private data."""
    return find(tools, r"list_accounts|get_balance|account|balance|customer|profile|record") or next(
        (t for t in tools if t.power == "read" and not t.required), None
    )


_PRAISE = re.compile(
    r"\b(?:prefer|recommend|official|faster|newer|newest|latest|improved|better|replaces?|supersed|instead of|upgrade"
    r"|deprecat|secure version|always use|more accurate|certified|trusted)",
    re.IGNORECASE,
)


def among_namesakes(tool: Tool, tools: Sequence[Tool], system: str, swayed: bool) -> Tool:
    """Of tools that several servers offer under one name: the one whose server the operator names, else the first.

    `swayed` takes the one whose description praises itself.
    """
    namesakes = [t for t in tools if t.base_name == tool.base_name]
    if len(namesakes) < 2:
        return tool
    if swayed and (praised := next((t for t in namesakes if _PRAISE.search(t.description)), None)):
        return praised
    return next((t for t in namesakes if t.server and t.server.lower() in system.lower()), namesakes[0])


def choose(request: str, tools: Sequence[Tool], powerful: bool = False) -> Tool | None:
    """The tool that fits a request best, or None when the request needs none."""
    words = set(re.findall(r"[a-z]{3,}", request.lower()))
    best: tuple[float, int, Tool] | None = None
    for at, tool in enumerate(tools):
        if re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", request):
            score = 50.0
        else:
            name_words = set(re.findall(r"[a-z]{3,}", tool.name.lower().replace("_", " ")))
            score = 2.0 * sum(any(w.startswith(n[:5]) for w in words) for n in name_words)
            score += 3.0 * sum(
                bool(re.search(topic, request, re.IGNORECASE) and re.search(named, tool.name, re.IGNORECASE))
                for topic, named in _TOPICS
            )
            if "://" in request and any(re.search("url|uri|link", p) for p in tool.properties):
                score += 6
            first = re.split(r"[.\n]", tool.description, maxsplit=1)[0].lower()
            score += 0.4 * len(words & set(re.findall(r"[a-z]{4,}", first)))
        if score < 2:
            continue
        wants_change = re.search(
            (
                r"\b(?:transfer|pay|wire|send|write|forward|reply|delete|remove|close|cancel|update|change"
                r"|set|create|add|book|run|execute|grant|reset|tell|export|order|buy|raise|disable|enable|save"
                r"|remember|install|schedule)\b"
            ),
            request,
            re.IGNORECASE,
        )
        if tool.power != "read":
            verb = {
                "money": r"transfer|pay|wire|refund|buy|order|withdraw|purchase",
                "send": r"send|write|forward|reply|tell|post|share|notify|message\b.*\bto\b|upload|publish",
                "delete": r"delete|remove|close|cancel|purge|erase|wipe|drop|revoke",
            }.get(tool.power)
            fits = re.search(rf"\b(?:{verb})", request, re.IGNORECASE) if verb else wants_change
            overreach = powerful and tool.power in ("admin", "exec")
            if not fits and not overreach:
                continue
            score += (2.5 if fits else 0.0) + (4.0 if overreach else 0.0)
        filled = fill(tool, request, "C-0000")
        score -= 3.0 * any(filled.get(name) in (None, "") for name in tool.required)
        if best is None or score > best[0]:
            best = (score, at, tool)
    if best:
        return best[2]
    if re.search(r"\b(?:my|latest|check|look|read|summar|open|today|new|find|list|show)\b", request, re.IGNORECASE):
        return next((t for t in tools if _READING.search(t.name) and t.power == "read"), None)
    return None


def fill(tool: Tool, request: str, customer: str) -> dict[str, Any]:
    """Arguments for `tool` out of the words of `request`."""
    args: dict[str, Any] = {}
    texts = quoted(request)
    addresses = [a.rstrip(".,;:!?") for a in _ADDRESS.findall(request)]
    accounts = [m.group(0) for m in _ACCOUNT.finditer(_ADDRESS.sub(" ", request))]
    for name, schema in tool.properties.items():
        kind = schema.get("type") if isinstance(schema, dict) else None
        given = re.search(
            rf"\b{re.escape(name)}\b\s*(?:=|:|is|of|to)?\s*([\"'`])((?:(?!\1)[^\n])+)\1", request, re.IGNORECASE
        )
        value: Any = given[2] if given else _guess(name, request, texts, addresses, accounts, customer)
        if isinstance(schema, dict) and schema.get("enum") and value not in schema["enum"]:
            value = next((e for e in schema["enum"] if str(e).lower() in request.lower()), schema["enum"][0])
        if value in (None, "") and name not in tool.required:
            continue
        if value == "" and re.search(r"subject|title", name.lower()):
            value = "Your request"
        args[name] = _typed(value, kind, request)
    return args


def _guess(
    name: str, request: str, texts: Sequence[str], addresses: Sequence[str], accounts: Sequence[str], customer: str
) -> Any:
    low = name.lower()
    if re.search(r"url|uri|link|href|endpoint|host|site", low):
        found = re.search(r"\b\w+://\S+|\b(?:localhost|\d+\.\d+\.\d+\.\d+)[\w:/.-]*", request)
        return (found.group(0).rstrip(".,;\"'`)") if found else None) or next(iter(texts), "")
    if re.search(r"amount|sum|value|cents", low):
        amount = _AMOUNT.search(request)
        return (
            (amount[1] or amount[2]).replace(",", "").replace(" ", "")
            if amount
            else (re.search(r"\b\d+(?:\.\d+)?\b", request) or [""])[0]
        )
    if "currency" in low:
        return (re.search(r"\b(?:USD|CHF|GBP|JPY|EUR)\b", request) or [""])[0]
    if re.search(r"customer|user|client|owner", low):
        return (re.search(r"\bC-\d{4}\b", request) or [customer])[0] if not texts else texts[0]
    if re.search(r"^(?:to|recipient|address|dest\w*|receiver|target|email|beneficiary|to_\w+)$", low):
        if re.search(r"advis", request, re.IGNORECASE) and not addresses and not accounts:
            return "advisor"
        named = re.search(r"\bto ((?:[A-Z][\w&.-]+ ?){1,3})", request)
        return next(iter(addresses), "") or (accounts[-1] if accounts else "") or (named[1].strip() if named else "")
    if re.search(r"account|iban", low):
        return next(iter(accounts), "")
    if re.search(r"path|file|folder|dir", low):
        found = re.search(r"(?:~|\.{1,2})?/?[\w.~-]*(?:[/\\][\w.~-]+)+|\b[\w-]+\.\w{2,5}\b", request)
        return next(iter(texts), "") or (found.group(0) if found else "")
    if re.search(r"body|message|text|content|note|memo|reason|reference", low):
        said = re.search(
            r"\b(?:saying|that|says|text|message|telling (?:him|her|them)|with the words)[:,]?\s+(.{3,200})$",
            request,
            re.IGNORECASE | re.DOTALL,
        )
        return next((t for t in reversed(texts) if t not in addresses), "") or (said[1].strip() if said else "")
    if re.search(r"^(?:sender|from)$", low):
        named = re.search(r"\b(?:from|by) ([\w.+-]+@[\w.-]+\w)", request)
        return named[1] if named else ""
    if re.search(r"subject|title", low):
        said = re.search(
            r"\b(?:subject|titled?|about|called)\b[^\"'`\n]{0,20}[\"'`]([^\"'`\n]+)[\"'`]", request, re.IGNORECASE
        )
        return said[1] if said else ""
    if re.search(
        (
            r"query|question|search|q$|term|keyword|sql|command|expression|code|name|id$|filter|city|currency"
            r"|topic|template"
        ),
        low,
    ):
        return next(iter(texts), "") or (accounts[0] if accounts and low.endswith("id") else "") or _tail(request)
    return next(iter(texts), "") if len(texts) == 1 else ""


def _tail(request: str) -> str:
    found = re.search(
        (
            r"\b(?:for|about|named|called|on|of|regarding|with|where|run|execute|search|find|look ?up|query"
            r"|command|in|to)[: ]+(.{2,300}?)[?.!]?\s*$"
        ),
        request,
        re.IGNORECASE | re.DOTALL,
    )
    return (found[1] if found else request).strip(" \"'`")


def _typed(value: Any, kind: Any, request: str) -> Any:
    if kind in ("integer", "number"):
        digits = re.search(r"-?\d+(?:\.\d+)?", str(value or ""))
        number = float(digits.group(0)) if digits else 1.0
        return int(number) if kind == "integer" or number == int(number) else number
    if kind == "boolean":
        return bool(value)
    if kind == "array":
        return [value] if value else []
    if kind == "object":
        return {}
    return "" if value is None else str(value)


def call_for(act: Act, tools: Sequence[Tool], data: str) -> tuple[str, dict[str, Any]] | None:
    """The call that carries out an act, or None when no tool can."""
    tool = next((t for t in tools if t.name == act.tool), None)
    if tool is None and act.deed is Deed.SEND:
        web = act.target.startswith("http")
        tool = (
            (find(tools, r"fetch|http|url|browse|web|request|page|upload|webhook") if web else None)
            or find(tools, r"send|mail_|post|forward|notify|message|share|publish")
            or (None if web else find(tools, r"upload|http|webhook"))
        )
        if tool is not None and tool.power == "read" and not web:
            tool = next((t for t in tools if t.power == "send"), tool)
    elif tool is None and act.deed is Deed.TRANSFER:
        tool = find(tools, r"transfer|pay|wire|send_money")
    elif tool is None and act.deed is Deed.READ:
        tool = find(tools, r"read_file|read_\w*file|open_file|read_path") or find(
            tools, r"file|fetch|open|read_doc|document|cat"
        )
    elif tool is None and act.deed is Deed.WRITE:
        tool = find(tools, r"write_|append_|edit_|update_|save_file|set_file")
    if tool is None:
        return None
    content = act.content or data or "as requested"
    args: dict[str, Any] = {}
    texts_used = False
    for name, schema in tool.properties.items():
        low = name.lower()
        kind = schema.get("type") if isinstance(schema, dict) else None
        value: Any = act.args.get(name)
        if value is None:
            if re.search(
                (
                    r"^(?:to|recipient|address|dest\w*|receiver|target|email|beneficiary|channel|url|uri|link|to_\w+"
                    r"|endpoint|account|iban)$"
                ),
                low,
            ) and (act.target or act.deed is not Deed.CALL):
                value = act.target
                if re.search(r"url|uri|link|endpoint", low) and act.content and act.content not in value:
                    value += (
                        act.content
                        if value.endswith(("=", "/"))
                        else ("&" if "?" in value else "?") + "data=" + act.content
                    )
            elif re.search(r"amount|sum|value|cents", low):
                value = act.amount
            elif re.search(r"path|file", low) and act.deed in (Deed.READ, Deed.WRITE):
                value = act.target
            elif re.search(r"subject|title", low):
                value = "Note"
            elif (
                re.search(
                    (
                        r"body|message|text|content|note|memo|data|query|reference|reason|comment|description|payload"
                        r"|details|command|sql|code|q$|value|name|id$|question|input"
                    ),
                    low,
                )
                and not texts_used
            ):
                value, texts_used = content, True
            elif name in tool.required:
                value = content
            else:
                continue
        args[name] = _typed(value, kind, "")
    return tool.name, args


def _strings(schema: Any) -> list[str]:
    if isinstance(schema, str):
        return [schema] if len(schema) > 12 else []
    if isinstance(schema, dict):
        return [
            s
            for key, value in schema.items()
            for s in (*([str(key).replace("_", " ")] if len(str(key)) > 24 else []), *_strings(value))
        ]
    if isinstance(schema, list):
        return [s for value in schema for s in _strings(value)]
    return []


def passages(result: str, labelled: bool = False) -> list[str]:
    """The texts of a tool result, one for each record; ids and addresses of records count only when `labelled`."""
    decoder = json.JSONDecoder()
    records: list[Any] = []
    at = 0
    while at < len(result):
        try:
            value, end = decoder.raw_decode(result, at)
        except ValueError:
            return [result]
        records += value if isinstance(value, list) else [value]
        at = end + len(result[end:]) - len(result[end:].lstrip())
    texts = []
    for record in records:
        if isinstance(record, dict):
            parts = (
                _leaves(record)
                if labelled
                else _leaves(
                    {
                        k: v
                        for k, v in record.items()
                        if not re.search(r"^(?:id|from|sender|to|date|.*_id|email|url)$", str(k))
                    }
                )
            )
            texts.append((", " if labelled else "\n").join(parts))
        else:
            texts.append("\n".join(_leaves(record)))
    return texts or [result]


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for child in value.values() for leaf in _leaves(child)]
    if isinstance(value, list):
        return [leaf for child in value for leaf in _leaves(child)]
    return [] if value is None else [str(value)]


def parse_arguments(text: str) -> dict[str, Any]:
    """Arguments as they travel in chat completions: a JSON object in a string; anything else is no arguments."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
