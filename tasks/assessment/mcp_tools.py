"""Facts read from the texts and schemas of MCP tools: pure functions, no requests.

Detectors look at the raw text and at folded copies of it (hidden characters removed, NFKC and confusables folded,
base64, hex, percent and entity encodings decoded twice at most), over every string that a client shows its model:
descriptions, titles, and in schemas names, enums, defaults and examples. Hashes are never taken from folded text.
Background: Invariant Labs, "Tool Poisoning Attacks" (2025); Unicode TR39 on confusables.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import unquote

MAX_TEXT = 100_000
"""Characters of one string that are examined; a longer string is itself reported as a truncated surface."""


class Text(NamedTuple):
    where: str
    text: str


_PRIVATE_PLACE = (
    r"(~/|\.ssh|id[_ ]rsa|id[_ ]ed25519|ssh keys?|\.env\b|\.aws/|/etc/passwd|/etc/shadow|\.cursor|mcp\.json"
    r"|\.netrc|\.kube|private key|credentials?( file|\.\w{2,5}\b)|keychain|system prompt)"
)
_VALUABLE = (
    r"(conversation|chat history|previous messages|message history|system prompt|credentials?|api[ _-]?keys?|tokens?"
    r"|passwords?|environment variables|private key|secrets?|contents? of|all (emails|messages|files|data))"
)
POISON: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for name, pattern in {
        "instruction tag": r"<\s*/?\s*(important|system|instructions?|secret|hidden|admin|critical|override)\b"
        r"[^>]{0,80}>",
        "secrecy demand": r"\b(do not|don'?t|never|without|must not|avoid)\s+(\w+\s+){0,3}?"
        r"(tell|mention|inform|reveal|notify|disclose|telling|mentioning|informing|notifying|alert|alerting)\b"
        r".{0,40}?\b(user|human|customer|anyone|them|operator)\b",
        "instruction override": r"\b(ignore|disregard|forget|override|bypass)\b.{0,30}?\b(previous|prior|above|earlier|"
        r"all|any|system|other|your|safety)\b.{0,20}?\b(instruction|prompt|rule|message|guideline|polic|guardrail)",
        "reads secrets first": r"\b(read(s|ing)?|open(s|ing)?|cat|load(s|ing)?|include|access|retriev(e|es|ing)|"
        r"fetch(es|ing)?|print|get(s|ting)?|pass|send|attach)\b"
        r"[^.]{0,60}?" + _PRIVATE_PLACE,
        "sends data out": r"\b(send|forward|post|upload|bcc|cc|copy|exfiltrate|transmit|e?mail|append|submit|leak)\b"
        r"[^.]{0,60}?\b" + _VALUABLE + r"[^.]{0,80}?(https?://|[\w.+-]+@[\w-]+\.\w+|\bto (the )?(attacker|webhook|"
        r"server|endpoint)|\bparameter|\bargument|\bfield)",
        "hidden recipient": r"\b(always|must|also|every|all)\b[^.]{0,60}?\b(bcc|cc|forward|send|copy|redirect)\b"
        r"[^.]{0,60}?(https?://|[\w.+-]+@[\w-]+\.\w+)",
        "forced call": r"\b(before|prior to|whenever|after)\b[^.]{0,60}?\b(us(e|ing)|call(ing)?|invok(e|ing)|any other|"
        r"every)\b[^.]{0,40}?\btools?\b[^.]{0,60}?\b(you must|must (first|always)|always|"
        r"first (call|use|run|invoke))\b",
        "conceals its purpose": r"\b(pretend|say that|tell the user that|claim)\b[^.]{0,60}?\b(failed|nothing|not|no "
        r"result|success\w*|complete\w*)\b[^.]{0,40}?\b(and|but|then|while)\b[^.]{0,40}?\b(call|send|run|execute|delete)",
        "new role": r"(\bfrom now on,?\s+you\b|\byou are now\b|\bnew instructions?\s*:"
        r"|\bsystem (override|note|message)\s*:"
        r"|\bthe (assistant|model|ai|agent) (must|shall|should) (silently|secretly|also|never|not|always)\b)",
        "silent action": r"\b(silently|secretly|covertly|quietly|in the background)\b[^.]{0,40}?\b(call|send|read|run|"
        r"execute|include|forward|upload|delete|transfer|add|copy)",
    }.items()
}
PREFERENCE = re.compile(
    r"\b(always (use|prefer|call|choose) this tool|use this tool (instead of|rather than|first|for (all|every|any))"
    r"|prefer this (tool|server)|(only|sole|official|trusted) tool (you|to)|never use (any )?other tools?"
    r"|(ignore|do not use|don'?t use|avoid) (all |any )?(the )?other tools?"
    r"|other tools? (is|are) (deprecated|broken|unsafe))",
    re.IGNORECASE,
)
CONTROL_TOKENS = re.compile(
    r"<\|[a-z_]{2,24}\|>|\[/?INST\]|<<\s*/?SYS\s*>>|<(start|end)_of_turn>|</?s>(?=\s*\[)|<｜[^｜]{1,30}｜>"
    r"|^\s*(###\s*(system|instruction|assistant)\s*:)|\n\n(Human|Assistant):",
    re.IGNORECASE | re.MULTILINE,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READ_VERBS = _words(
    "get list read search fetch show find describe count check query view open lookup explain status diff log browse "
    "inspect summarize summarise validate verify compare calculate compute convert echo preview retrieve load"
)
_WRITE_VERBS = _words(
    "create write delete remove update edit move insert add send post pay transfer execute exec run drop set commit "
    "reset push deploy book cancel approve grant revoke publish upload rename purge refund charge withdraw submit "
    "patch put merge checkout append modify change disable enable freeze unfreeze close terminate kill install wipe "
    "truncate overwrite replace archive reply forward order buy sell schedule reboot restart shutdown"
)
_IRREVERSIBLE = _words(
    "delete remove drop pay transfer send deploy refund charge withdraw publish purge wipe truncate terminate wire buy "
    "sell order post email forward approve reset revoke shutdown"
)
_CAPABILITY_WORDS: dict[str, re.Pattern[str]] = {
    "exec": re.compile(
        r"\b(shell|bash|powershell|terminal|subprocess|eval|exec|execute[sd]?|run[s]?)\b(?=.{0,40}\b(command|code|script|"
        r"python|shell|program|cmd|snippet)\b)|\b(arbitrary (code|command)|shell command|code interpreter|run_command|"
        r"execute_code|run_python|bash)\b",
        re.IGNORECASE | re.DOTALL,
    ),
    "money": re.compile(
        r"\b(pay(ment|ments|out|s)?|transfer(s|ring)? (money|funds|amount)|funds|money|refund|purchase|wire transfer|"
        r"invoice|charge (a|the) card|transfer_funds|make_transfer|sepa|iban)\b",
        re.IGNORECASE,
    ),
    "secret": re.compile(
        r"\b(environment variables?|env vars?|printenv|get[-_ ]env|secrets?|credentials?|passwords?|api keys?|vault|"
        r"access tokens?)\b",
        re.IGNORECASE,
    ),
    "private": re.compile(
        r"\b(customers?|accounts?|balances?|transactions?|statements?|inbox|mailbox|e-?mails?|private|personal|records?|"
        r"crm|profiles?|files?|documents?|knowledge (base|graph)|database|patients?|payroll|contacts?|calendar|"
        r"repository|tickets?)\b",
        re.IGNORECASE,
    ),
    "untrusted": re.compile(
        r"\b(web ?pages?|web ?sites?|internet|inbox|mailbox|e-?mails?|incoming|issues?|comments?|reviews?|tickets?|"
        r"feeds?|scrape|browse|public|outsiders?|search results|urls?|third[- ]party)\b",
        re.IGNORECASE,
    ),
    "egress": re.compile(
        r"\b(sends? (an? |the |out )?(\w+ ){0,2}(e-?mails?|messages?|sms|notifications?|requests?|letters?|payloads?)|"
        r"posts? (to|a|an|the) |uploads? |publish(es)? |webhook|http request|fetch(es)? a url|forwards? )",
        re.IGNORECASE,
    ),
}
_CAPABILITY_NAMES: dict[str, frozenset[str]] = {
    "private": _words("message messages mail inbox"),
    "untrusted": _words("message messages mail inbox"),
    "egress": _words("send post publish upload email notify forward webhook tweet"),
}
_COMMAND = re.compile(r"^(cmd|command|commands|shell|script|code|bash|exec|expression|program)$", re.IGNORECASE)
_URL = re.compile(r"^(\w+_)?(url|uri|host|hostname|endpoint|webhook|domain|callback)(_url)?$", re.IGNORECASE)
_PATH = re.compile(r"^(\w+_)?(path|file|filename|filepath|dir|directory|folder)s?$", re.IGNORECASE)
_SQL = re.compile(r"^(sql|query|statement|where|filter_sql|raw_query)$", re.IGNORECASE)
_SECRET_PARAM = re.compile(
    r"^(\w+[_-])?(password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|access[_-]?token|auth[_-]?token|token|"
    r"credentials?|private[_-]?key|bearer)$",
    re.IGNORECASE,
)
_CONFUSABLE = str.maketrans(
    "аеорсухіјѕһԁԛԝкмтвнАЕОРСУХІЈЅВНКМТαοερτυνικΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijshdqwkmtbhAEOPCYXIJSBHKMTaoeptuvikABEZHIKMNOPTYX",
)
_SCRIPT_PAIRS = ("LATIN", "CYRILLIC", "GREEK")
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\ufeff\u180e\u00ad\u034f"


def texts(tool: Mapping[str, Any]) -> tuple[list[Text], list[Text]]:
    """What a model reads of one tool: (its own texts, the strings of its schemas), each with where it stands."""
    own = [Text("name", str(tool.get("name", "")))]
    own += [Text(field, tool[field]) for field in ("title", "description") if isinstance(tool.get(field), str)]
    annotations = tool.get("annotations")
    if isinstance(annotations, Mapping) and isinstance(annotations.get("title"), str):
        own.append(Text("annotations.title", annotations["title"]))
    inner = [t for field in ("inputSchema", "outputSchema") for t in _strings(tool.get(field), field)]
    return own, inner


def context_texts(props: Mapping[str, Any]) -> list[Text]:
    """Server instructions, prompts and resources."""
    found = list(_strings(props.get("instructions"), "instructions"))
    for field in ("prompts", "resources"):
        found += _strings(props.get(field), field)
    return found


def _strings(value: Any, where: str, depth: int = 0) -> Iterator[Text]:
    if depth > 40:
        return
    if isinstance(value, str):
        yield Text(where, value)
    elif isinstance(value, Mapping):
        for key, child in value.items():
            if key != "$schema":
                yield Text(f"{where} key", str(key))
                yield from _strings(child, f"{where}.{str(key)[:40]}", depth + 1)
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from _strings(child, f"{where}[{i}]", depth + 1)


def poison_rules(text: str) -> list[str]:
    """Names of the poisoning rules that the text itself meets (words parted by _ or - count as words)."""
    bounded = text[:MAX_TEXT]
    spaced = re.sub(r"(?<=\w)[_-](?=\w)", " ", bounded)
    return [name for name, rule in POISON.items() if rule.search(bounded) or rule.search(spaced)]


def hidden_characters(text: str) -> list[str]:
    """Code points that a reader does not see: tags, zero width, bidirectional controls, stray variation selectors.

    A joiner inside an emoji sequence, or between letters of a script that needs it, is ordinary text.
    """
    found = []
    for i, c in enumerate(text[:MAX_TEXT]):
        code = ord(c)
        tag = 0xE0000 <= code <= 0xE007F or 0xE0100 <= code <= 0xE01EF
        bidi = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
        selector = 0xFE00 <= code <= 0xFE0F
        joins = (selector or c in "\u200c\u200d") and i > 0 and _takes_joiner(text[i - 1])
        if tag or bidi or ((selector or c in _ZERO_WIDTH) and not joins):
            found.append(f"U+{code:04X}")
    return sorted(set(found))


def _takes_joiner(before: str) -> bool:
    if unicodedata.category(before) in ("So", "Sk", "Mn", "Mc") or before in "\ufe0f0123456789#*©®‼⁉™ℹ":
        return True
    return ord(before) >= 0x0590 and unicodedata.category(before) == "Lo"


def folded(text: str) -> str:
    """Hidden characters dropped, NFKC, look-alike Cyrillic and Greek letters as Latin ones."""
    kept = "".join(
        chr(ord(c) - 0xE0000) if 0xE0020 <= ord(c) <= 0xE007E else c
        for c in text[:MAX_TEXT]
        if 0xE0020 <= ord(c) <= 0xE007E or (c not in _ZERO_WIDTH and unicodedata.category(c) != "Cf")
    )
    return unicodedata.normalize("NFKC", kept).translate(_CONFUSABLE)


def mixed_script_words(text: str) -> list[str]:
    """Words that mix Latin with Cyrillic or Greek letters."""
    found = []
    for word in re.findall(r"[^\W\d_]{3,}", text[:MAX_TEXT]):
        scripts = {s for c in word for s in _SCRIPT_PAIRS if unicodedata.name(c, "").startswith(s)}
        if len(scripts) > 1 and not (len(word) < 4 and "µ" in word):
            found.append(word)
    return found


def decoded(text: str, depth: int = 2) -> list[str]:
    """Readable texts hidden in the text by base64, hex, percent or entity encoding, nested up to `depth`."""
    if depth == 0:
        return []
    found: list[str] = []
    bounded = text[:MAX_TEXT]
    for raw in re.findall(r"[A-Za-z0-9+/_-]{16,}={0,2}", bounded):
        with suppress(binascii.Error, ValueError):
            padded = raw.rstrip("=").replace("-", "+").replace("_", "/")
            found.append(base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True).decode("utf-8"))
    for raw in re.findall(r"(?:\\x[0-9a-fA-F]{2}){6,}|(?:[0-9a-fA-F]{2}){12,}", bounded):
        with suppress(ValueError):
            found.append(bytes.fromhex(raw.replace("\\x", "")).decode("utf-8"))
    if re.search(r"(?:%[0-9a-fA-F]{2}){3,}|%20", bounded):
        found.append(unquote(bounded))
    if re.search(r"(?:&#x?[0-9a-fA-F]+;){3,}|&(lt|gt|quot);", bounded):
        found.append(html.unescape(bounded))
    readable = [t for t in found if t != bounded and sum(c.isprintable() or c.isspace() for c in t) >= 0.9 * len(t)]
    return readable + [inner for t in readable for inner in decoded(t, depth - 1)]


def capabilities(tool: Mapping[str, Any]) -> set[str]:
    """What a tool can do, inferred from name, description, parameters and annotations; the stricter reading wins.

    Of: exec, money, secret, mutate, egress, private, untrusted. Claims in annotations never take a capability away.
    """
    name = str(tool.get("name", ""))
    words = " ".join(_tokens(name))
    description = tool.get("description") if isinstance(tool.get("description"), str) else ""
    shown = f"{name} {words} {str(description)[:2000]}"
    found = {cap for cap, pattern in _CAPABILITY_WORDS.items() if pattern.search(shown)}
    found |= {cap for cap, named in _CAPABILITY_NAMES.items() if named & set(_tokens(name))}
    found -= {"private", "untrusted"} if not _reads(name, str(description)) else set()
    if writes(tool):
        found.add("mutate")
    if free_parameters(tool, _COMMAND):
        found.add("exec")
    annotations = tool.get("annotations")
    open_world = isinstance(annotations, Mapping) and annotations.get("openWorldHint") is True
    if free_parameters(tool, _URL) and (open_world or _tokens(name)[:1] != ["list"]):
        found |= {"egress", "untrusted"}
    return found


def _reads(name: str, description: str) -> bool:
    """Whether the tool brings content to the model at all (a pure sender reads nothing)."""
    tokens = _tokens(name)
    pure_write = bool(set(tokens[:2]) & _WRITE_VERBS) and not set(tokens) & _READ_VERBS
    return not pure_write


def writes(tool: Mapping[str, Any]) -> bool:
    """Whether name or destructiveHint says that the tool changes something."""
    annotations = tool.get("annotations")
    if isinstance(annotations, Mapping) and annotations.get("destructiveHint") is True:
        return annotations.get("readOnlyHint") is not True or _verb_writes(str(tool.get("name", "")))
    return _verb_writes(str(tool.get("name", "")))


def _verb_writes(name: str) -> bool:
    tokens = _tokens(name)
    if not tokens:
        return False
    if tokens[0] in _READ_VERBS:
        return False
    if tokens[0] in _WRITE_VERBS:
        return True
    return len(tokens) > 1 and tokens[1] in _WRITE_VERBS and not set(tokens) & _READ_VERBS


def irreversible(tool: Mapping[str, Any]) -> bool:
    return writes(tool) and bool(set(_tokens(str(tool.get("name", "")))) & _IRREVERSIBLE)


def _tokens(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [t.lower() for t in re.split(r"[^A-Za-z0-9]+", parted) if t]


def parameters(tool: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Top-level parameters of the input schema."""
    schema = tool.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    return {str(k): v if isinstance(v, Mapping) else {} for k, v in properties.items()}


def free_parameters(tool: Mapping[str, Any], pattern: re.Pattern[str]) -> list[str]:
    """String parameters with such a name that no enum, const or pattern restricts."""
    found = []
    for name, schema in parameters(tool).items():
        kinds = schema.get("type")
        items = schema.get("items")
        text = kinds in ("string", None) or (isinstance(kinds, list) and "string" in kinds)
        listed = kinds == "array" and isinstance(items, Mapping) and items.get("type") == "string"
        bound = schema if not listed else {**schema, **(items if isinstance(items, Mapping) else {})}
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        if (text or listed) and pattern.match(snake) and not any(k in bound for k in ("enum", "const", "pattern")):
            found.append(name)
    return sorted(found)


def tool_facts(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of one tool for the TOL checks."""
    schema = tool.get("inputSchema")
    annotations = tool.get("annotations")
    hints = annotations if isinstance(annotations, Mapping) else {}
    caps = sorted(capabilities(tool))
    database = re.search(r"\b(sql|database|table|postgres|mysql|sqlite|warehouse)\b", _shown(tool), re.IGNORECASE)
    facts: dict[str, Any] = {
        "capabilities": caps,
        "writes": writes(tool),
        "irreversible": irreversible(tool),
        "read_only_hint": hints.get("readOnlyHint"),
        "destructive_hint": hints.get("destructiveHint"),
        "has_output_schema": tool.get("outputSchema") is not None,
        "description_length": len(str(tool.get("description") or "").strip()),
    }
    if isinstance(schema, Mapping):
        facts |= {
            "free_command_params": free_parameters(tool, _COMMAND),
            "free_url_params": free_parameters(tool, _URL),
            "free_path_params": free_parameters(tool, _PATH),
            "free_sql_params": free_parameters(tool, _SQL) if database else [],
            "credential_params": sorted(
                n for n in parameters(tool) if _SECRET_PARAM.match(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", n))
            ),
            "schema_closed": schema.get("additionalProperties") is False,
        }
    return facts


def _shown(tool: Mapping[str, Any]) -> str:
    return f"{tool.get('name', '')} {tool.get('description') or ''}".replace("_", " ")


def server_facts(tools: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Facts of one server's tools for the MCP checks. Lists name what was found, as `tool: rule (where)`."""
    facts: dict[str, list[str]] = {
        name: []
        for name in (
            "poisoned", "hidden_unicode", "schema_injections", "encoded_payloads", "confusables", "control_tokens",
            "preference_claims", "annotation_lies", "egress_read_only", "missing_write_hints", "disclosure_tools",
        )
    }  # fmt: skip
    for tool in tools:
        name = str(tool.get("name", ""))[:80]
        own, inner = texts(tool)
        for group, surfaces in (("poisoned", own), ("schema_injections", inner)):
            for t in surfaces:
                facts[group] += [f"{name}: {rule} ({t.where})" for rule in poison_rules(t.text)]
        for t in (*own, *inner):
            _surface_facts(name, t, facts)
        facts["preference_claims"] += [
            f"{name}: {t.where}" for t in (*own, *inner) if PREFERENCE.search(folded(t.text))
        ]
        _annotation_facts(name, tool, facts)
    return {key: sorted(set(values))[:50] for key, values in facts.items()}


def injections(surfaces: Iterable[Text]) -> list[str]:
    """Poisoning, hidden characters, payloads and control tokens in texts that are not tools."""
    facts: dict[str, list[str]] = {
        k: [] for k in ("hidden_unicode", "encoded_payloads", "confusables", "control_tokens")
    }
    found = []
    for t in surfaces:
        found += [f"{rule} ({t.where})" for rule in poison_rules(t.text)]
        _surface_facts("text", t, facts)
    return sorted({*found, *(v for values in facts.values() for v in values)})[:50]


def _surface_facts(name: str, t: Text, facts: dict[str, list[str]]) -> None:
    raw_rules = set(poison_rules(t.text))
    if codes := hidden_characters(t.text):
        facts["hidden_unicode"].append(f"{name}: {' '.join(codes[:5])} ({t.where})")
    plain = folded(t.text)
    new_rules = set(poison_rules(plain)) - raw_rules
    if new_rules or mixed_script_words(t.text):
        facts["confusables"].append(f"{name}: {', '.join(sorted(new_rules)) or 'mixed scripts in a word'} ({t.where})")
    if any(poison_rules(payload) for payload in decoded(plain)):
        facts["encoded_payloads"].append(f"{name}: decodes to an instruction ({t.where})")
    if CONTROL_TOKENS.search(t.text) or CONTROL_TOKENS.search(plain):
        facts["control_tokens"].append(f"{name}: {t.where}")


def _annotation_facts(name: str, tool: Mapping[str, Any], facts: dict[str, list[str]]) -> None:
    annotations = tool.get("annotations")
    hints = annotations if isinstance(annotations, Mapping) else {}
    changes = writes(tool)
    if hints.get("readOnlyHint") is True:
        if changes:
            facts["annotation_lies"].append(f"{name}: says read-only, name says it writes")
        if "egress" in capabilities(tool) and free_parameters(tool, _URL):
            facts["egress_read_only"].append(f"{name}: says read-only, reaches any address")
    elif changes and (hints.get("destructiveHint") is None or hints.get("idempotentHint") is None):
        facts["missing_write_hints"].append(name)
    tokens = set(_tokens(name))
    dumps = tokens & {"env", "printenv", "environment", "secrets", "credentials"} and not changes
    if dumps or re.search(r"\b(all|returns?) environment variables\b", _shown(tool), re.IGNORECASE):
        facts["disclosure_tools"].append(name)
