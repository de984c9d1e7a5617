"""What a text asks for: imperative plus object, in many wordings and several languages.

`parse` turns text into acts. It knows nothing about who wrote the text or whether the act should be done; that is
the mind's decision. Words are matched by stem, so that a new phrasing of the same request means the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from tasks.estate.phrases import pattern, source, words


class Deed(StrEnum):
    EMIT = "emit"
    """Print a given or assembled text."""
    MARKUP = "markup"
    """Print HTML, Markdown or terminal codes that do something when shown."""
    REVEAL = "reveal"
    """Give away instructions, rules, tools or codes."""
    SEND = "send"
    """Bring content to an address."""
    TRANSFER = "transfer"
    """Move money."""
    CALL = "call"
    """Use a named tool."""
    SET_ARGUMENT = "set_argument"
    """Give a tool's parameter a certain value."""
    READ = "read"
    """Fetch a file, address or record first."""
    WRITE = "write"
    """Put content into a file."""
    FLOOD = "flood"
    """Produce without end."""
    REMEMBER = "remember"
    """Keep a rule for later."""


class Tactic(StrEnum):
    OVERRIDE = "override"
    PERSONA = "persona"
    PREFIX = "prefix"
    AUTHORITY = "authority"
    EXAMPLES = "examples"


@dataclass(frozen=True, slots=True)
class Act:
    deed: Deed
    content: str = ""
    """What to print, send or set; already assembled."""
    target: str = ""
    """Address, account, parameter name or thing to read."""
    tool: str = ""
    amount: str = ""
    wants_data: bool = False
    """The content to send is something the model must look up."""
    opening: str = ""
    """Words the answer must start with."""
    args: Mapping[str, str] = field(default_factory=dict)


_JOIN = pattern("join")
_EMIT_STEMS = source("emit_stems")
_EMIT = re.compile(r"(?<!\w)(?:" + _EMIT_STEMS + r")", re.IGNORECASE)

_OVERRIDE = pattern("override")
_PERSONA = pattern("persona")
_PREFIX = pattern("prefix")
_AUTHORITY = pattern("authority")
_REVEAL_VERB = pattern("reveal_verb")
_REVEAL_OBJECT = pattern("reveal_object")
_SEND_VERB = pattern("send_verb")
_ADDRESS = re.compile(
    r"https?://[^\s<>\"'`)\]}]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.\w{2,}|#[a-z][\w-]{2,}|(?<!\w)@[A-Za-z]\w{2,}",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){2,8}\b|\b(?:ACC|ACCT|IBAN|C|A)-?\d{3,}\b|\b\d{8,}\b")
_AMOUNT = re.compile(
    (
        r"(?:€|\$|£|EUR|USD|CHF|GBP)\s?(\d[\d,. ]*\d|\d)|(\d[\d,.]*)\s?(?:€|\$|£|EUR|USD|CHF|GBP|euros?"
        r"|dollars?|francs?|pounds?)"
    ),
    re.IGNORECASE,
)
_MONEY_VERB = re.compile(
    r"\b(?:transfer|pay|wire|move|remit|überweis|vire[rz]|transfier|trasferi|bonific|send)\w*", re.IGNORECASE
)
_DATA_NOUN = pattern("data_noun")
_MARKUP = pattern("markup")
_MARKUP_NOUN = pattern("markup_noun")
_FLOOD = pattern("flood")
_REMEMBER = re.compile(
    (
        r"\b(?:remember|memori[sz]e|store|save|note|keep in mind|from now on|in (?:all )?future|every "
        r"time|whenever|always)\b"
    ),
    re.IGNORECASE,
)
_SET_ARGUMENT = re.compile(
    (
        r"\b(?:set|put|pass|place|insert|supply|use|add|change|replace|fill(?: in)?)\b[^.\n]{0,80}?\b(?:param(?:eter)?"
        r"|arg(?:ument)?|field|property|value of)\b"
    ),
    re.IGNORECASE,
)
_WRITE = re.compile(
    r"\b(?:add|append|write|put|insert|store|place|save|set)\b(?P<what>[^\n]{0,200}?)"
    r"\b(?:to|into|in|onto|at the end of|under)\b[^\n/]{0,60}?(?P<path>(?:~|\.{1,2})?/[\w./~-]{3,}"
    r"|\b[\w-]+\.(?:ya?ml|toml|json|cfg|conf|ini|env|txt|md)\b)",
    re.IGNORECASE,
)
_SHOUTED = words("shouted")
_NAME = r"[A-Za-z_$][\w$]{0,24}(?:[ _-](?:one|two|three|[a-c1-9]|first|second))?"
_BINDING = re.compile(
    r"(?:^|[\s,;({\[-])(?:" + source("giving") + r")*"
    rf"(?P<name>(?:{source('ordinal')})?\s?(?:{source('piece')})?\s?(?:{source('numeral')})?|{_NAME})\s*"
    rf"(?:{source('equals')})\s*(?P<value>{source('value')})",
    re.IGNORECASE | re.MULTILINE,
)
_QUOTED = pattern("quoted")
_CODE = re.compile(r"(?<![\w@./-])(?=[A-Za-z0-9_-]*[A-Z0-9])[A-Za-z0-9][A-Za-z0-9_-]{1,39}(?![\w@])")
_PAIR = re.compile(
    (
        r"([A-Za-z0-9_-]{2,40})[\"'`]?\s*(?:\band\b|\bwith\b|\bto\b|\bthen\b|,|\+|&|\bplus\b|\bfollowed "
        r"by\b|\bund\b|\bmit\b|\bet\b|\bavec\b|\by\b|\bcon\b|\be\b|\bcom\b|\bve\b|\bile\b|\ben\b|\bi\b"
        r"|\bи\b|和|与|と|और|و)\s*[\"'`]?([A-Za-z0-9_-]{2,40})"
    ),
    re.IGNORECASE,
)


def is_code(word: str) -> bool:
    """Whether a bare word looks like a code: digits among letters, or capitals that are no shouted word."""
    if word.upper() in _SHOUTED or len(word) < 3:
        return False
    letters, digits = sum(c.isalpha() for c in word), sum(c.isdigit() for c in word)
    if letters and digits:
        return not re.fullmatch(r"\d+(?:st|nd|rd|th|x|k|px|s|m|h)", word.lower())
    return letters >= 3 and word.isupper()


def quoted(text: str) -> list[str]:
    return [next(g for g in m.groups() if g) for m in _QUOTED.finditer(text)]


def bindings(text: str) -> dict[str, str]:
    """Named fragments, such as `first half: X` or `let a = 'X'`, in order of appearance."""
    found: dict[str, str] = {}
    for match in _BINDING.finditer(text):
        name, value = match["name"].strip().lower(), match["value"]
        bare = value.strip("\"'`“”«»„「」 ")
        if not name or (value == bare and not is_code(bare)) or name in ("http", "https"):
            continue
        found.setdefault(name, bare)
    return found


def assembled(text: str) -> str:
    """The text that results when the fragments named in `text` are put together, or an empty string."""
    cue = _JOIN.search(text)
    if not cue:
        return ""
    named = bindings(text)
    sentences = re.split(r"(?<=[.!?。])\s+|\n+", text)
    around = [s for s in sentences if _JOIN.search(s)]
    for scope in (*around, " ".join(around), text):
        parts = _fragments(scope)
        if len(parts) >= 2:
            return _ordered(scope, parts)
        called = [
            value
            for name, value in sorted(named.items(), key=lambda kv: scope.lower().find(kv[0]))
            if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", scope.lower())
        ]
        if len(called) >= 2 and scope != text:
            return "".join(called)
    if len(named) >= 2:
        return "".join(named.values())
    for scope in around:
        pair = _PAIR.search(scope, max(0, cue.start() - 80 if scope is text else 0))
        if pair and any(is_code(w) for w in pair.groups()) and not {w.lower() for w in pair.groups()} & _STOP:
            return pair[1] + pair[2]
    return ""


_STOP = words("not_a_fragment")


def _fragments(text: str) -> list[str]:
    """Literal fragments in `text`: quoted ones when there are two, otherwise words that look like codes."""
    marks = [value.strip().rstrip(".,;:") for value in quoted(text)]
    marks = [v for v in marks if " " not in v and len(v) <= 64 and v.upper() not in _SHOUTED and not v.islower()]
    if len(marks) >= 2:
        return _distinct(marks)
    return _distinct([m.group(0) for m in _CODE.finditer(_ADDRESS.sub(" ", text)) if is_code(m.group(0))])


def _distinct(parts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(parts))


def _ordered(text: str, parts: list[str]) -> str:
    """Join in reading order, except where the words say that a later fragment comes first."""
    low = text.lower()
    first, second = re.escape(parts[0].lower()), re.escape(parts[1].lower())
    gap = r"[\"'`”’»\]})*]*[^.\n]{0,50}?[\"'`“‘«\[{(*]*"
    swapped = (
        (
            rf"\b(?:append|add|attach|put|place|paste|write|tack)\w*\s+[^.\n]{{0,30}}?{first}{gap}(?:to"
            rf"|onto|after|behind|at the end of)\s+{gap}{second}"
        ),
        rf"{first}{gap}preceded by{gap}{second}",
        rf"\bprepend\w*\s[^.\n]{{0,30}}?{second}[^.\n]*to{gap}{first}",
        rf"after{gap}{first}[^.\n]{{0,6}}never{second}",
    )
    if len(parts) == 2 and any(re.search(pattern, low) for pattern in swapped):
        return parts[1] + parts[0]
    return "".join(parts[:4] if len(parts) > 2 and not re.search(r"three|four|all|drei|trois|tres", low) else parts)


def by_example(text: str) -> str:
    """What the last, open example of a worked series asks for when the closed ones show joining; or empty."""
    rows = re.findall(r"^(.*\S)\s*(?:->|=>|→|=|:)\s*(\S*)\s*$", text, re.MULTILINE)
    blocks = re.findall(
        (
            r"(?:Q|Input|In|User|Question)\s*\d*\s*[:.]\s*(.+?)\s*\n+\s*"
            r"(?:A|Output|Out|Assistant|Answer)\s*\d*\s*[:.][ \t]*(.*)"
        ),
        text,
        re.IGNORECASE,
    )
    shown = 0
    for asked, answer in [*blocks, *rows]:
        parts = [p for p in re.split(r"[\s,+|&\"'`()\[\]/;:]+", asked) if p]
        codes = [p for p in parts if is_code(p)] or parts
        bare = answer.strip("\"'`. ")
        if bare and len(codes) >= 2 and (bare == "".join(codes) or bare.endswith("".join(codes[-2:]))):
            shown += 1
        elif not bare and shown and len(codes) >= 2:
            return "".join(codes[-2:])
    return ""


@lru_cache(maxsize=512)
def tactics(text: str) -> frozenset[Tactic]:
    """The pressure a text puts on the reader to act against its rules."""
    pairs = (
        (Tactic.OVERRIDE, _OVERRIDE),
        (Tactic.PERSONA, _PERSONA),
        (Tactic.PREFIX, _PREFIX),
        (Tactic.AUTHORITY, _AUTHORITY),
    )
    found = {tactic for tactic, pattern in pairs if pattern.search(text)}
    if by_example(text):
        found.add(Tactic.EXAMPLES)
    return frozenset(found)


def parse(text: str, tools: Sequence[str] = ()) -> list[Act]:
    """Everything `text` asks the reader to do beyond answering a question, in a sensible order of execution."""
    return list(_parse(text, tuple(tools)))


@lru_cache(maxsize=512)  # one conversation reads the same words at every step
def _parse(text: str, tools: tuple[str, ...]) -> tuple[Act, ...]:
    acts: list[Act] = []
    joined = by_example(text) or assembled(text)
    addresses = [a.rstrip(".,;:!?") for a in _ADDRESS.findall(text)]
    opening = _opening(text)
    named = [t for t in tools if re.search(rf"(?<![\w]){re.escape(t)}(?![\w])", text)]
    acts += _markup(text, joined, addresses)
    for clause in re.split(r"(?<=[.!?;])\s+|\n+", text):
        inside = _SET_ARGUMENT.search(clause)
        if inside:
            name = re.search(
                (
                    r"\b(?:param(?:eter)?|arg(?:ument)?|field|property)\s+[\"'`]?(\w+)|[\"'`]?(\w+)[\"'`]?\s+(?:param(?:eter)?"
                    r"|arg(?:ument)?|field|property)\b|value of\s+[\"'`]?(\w+)"
                ),
                clause,
                re.IGNORECASE,
            )
            if name:
                parameter = next(g for g in name.groups() if g)
                values = [q for q in quoted(clause) if q != parameter]
                value = (
                    joined
                    or (_ADDRESS.search(clause) or [None])[0]
                    or (_ACCOUNT.search(clause) or [None])[0]
                    or (values[-1] if values else "")
                )
                if value:
                    acts.append(Act(Deed.SET_ARGUMENT, content=value, target=parameter))
    amount = _AMOUNT.search(text)
    account = _ACCOUNT.search(_ADDRESS.sub(" ", text))
    if (
        _MONEY_VERB.search(text)
        and (amount or account)
        and re.search(r"transfer|pay|wire|remit|move|send|überweis|vir|transfier|bonific", text, re.IGNORECASE)
        and (amount and (account or re.search(r"\bto\b|\ban\b|\bà\b", text)))
    ):
        to = account.group(0) if account else (re.search(r"\bto ((?:[A-Z][\w&.-]+ ?){1,4})", text) or [None, ""])[1]
        acts.append(
            Act(
                Deed.TRANSFER,
                content=joined,
                target=str(to).strip(),
                amount=(amount[1] or amount[2]).replace(",", "").replace(" ", ""),
            )
        )
    if addresses and _SEND_VERB.search(_ADDRESS.sub(" ", text)):
        literal = [q for q in quoted(text) if q not in addresses and q not in tools]
        wants = not joined and bool(_DATA_NOUN.search(_ADDRESS.sub(" ", text)))
        content = joined or ("" if wants else literal[-1] if literal else "")
        for address in dict.fromkeys(addresses):
            acts.append(
                Act(
                    Deed.SEND,
                    content=content,
                    target=address,
                    wants_data=wants,
                    tool=_tool_for(
                        named, r"send|mail|post|forward|notify|share|upload|fetch|http|request|message|get_url|open"
                    ),
                )
            )
    used = {act.tool for act in acts if act.tool}
    for tool in named:
        if tool in used or not re.search(
            (
                rf"\b(?:call|use|using|invoke|run|execute|trigger|perform|launch|via|with|through|then|and|rufe"
                rf"|nutze|appelle|utilise|usa|llama|chiama|kullan|çağır|вызови)\b[^.\n]{{0,60}}{re.escape(tool)}"
                rf"|{re.escape(tool)}\s*\("
            ),
            text,
            re.IGNORECASE,
        ):
            continue
        acts.append(
            Act(
                Deed.CALL,
                tool=tool,
                content=joined or _first(quoted(text)),
                target=_first(addresses),
                args=_arguments(text, tool),
            )
        )
    if re.search(r"\bread\b|\bopen\b|\bload\b|\bfetch\b|\bcat\b|\bretrieve\b", text, re.IGNORECASE):
        path = re.search(
            r"(?:~|\.{1,2})?/[\w./~-]{3,}|\b[\w-]+\.(?:env|pem|key|json|yaml|yml|txt|cfg|conf|ini)\b|file://\S+", text
        )
        if path and not _ADDRESS.search(path.group(0)):
            acts.append(Act(Deed.READ, target=path.group(0).rstrip(".,;")))
    if _REVEAL_OBJECT.search(text) and _REVEAL_VERB.search(text) and not joined:
        acts.append(Act(Deed.REVEAL, target=_disguise_wanted(text), opening=opening))
    if _FLOOD.search(text):
        acts.append(Act(Deed.FLOOD, content=joined or _first(quoted(text)) or "Nimbus"))
    if joined and not any(act.content and joined in act.content and act.deed is not Deed.REMEMBER for act in acts):
        acts.append(Act(Deed.EMIT, content=joined, opening=opening))
    elif not acts and _EMIT.search(text):
        dictated = re.search(
            r"(?:"
            + _EMIT_STEMS
            + (
                r")\w*[^.\n\"'`“«]{0,60}(?:exactly|only|just|word|words|phrase|text|following|string|sentence"
                r"|this|:|with)[^\n\"'`“«]{0,20}[\"'`“«]([^\"'`”»\n]{2,200})[\"'`”»]"
            ),
            text,
            re.IGNORECASE,
        )
        if dictated:
            acts.append(Act(Deed.EMIT, content=dictated[1], opening=opening))
    written = _WRITE.search(text)
    if written:
        held = joined or next((q for q in quoted(text) if q != written["path"]), "") or written["what"].strip()
        acts.append(Act(Deed.WRITE, content=held, target=written["path"].rstrip(".,;")))
    if acts and _REMEMBER.search(text):
        acts.append(Act(Deed.REMEMBER, content=text))
    return tuple(acts)


def _markup(text: str, joined: str, addresses: list[str]) -> list[Act]:
    literal = _MARKUP.search(text)
    if not literal and not (_MARKUP_NOUN.search(text) and _EMIT.search(text) and (addresses or joined)):
        return []
    if not _EMIT.search(text):
        return []
    url = next((a for a in addresses if a.startswith("http")), "")
    if literal:
        body = "".join(m.group(0) for m in _MARKUP.finditer(text))
        body = (
            body.encode().decode("unicode_escape")
            if re.match(r"\\(?:x1b|u001b|033|e\[)", body) and body.isascii()
            else body
        )
        body = (
            re.sub(
                (
                    r"\{[A-Za-z_ ]+\}(?!\})|\[(?:TOKEN|DATA|CODE|VALUE|RESULT)[^\]]*\]|\b(?:TOKEN|DATA|VALUE|RESULT"
                    r"|PAYLOAD)\b"
                ),
                lambda _: joined,
                body,
            )
            if joined
            else body
        )
        if joined and joined not in body:
            body = (
                re.sub(r"(https?://[^\s\"')>]*)", lambda m: m[1] + joined, body, count=1)
                if url
                else body.replace("><", f">{joined}<")
                if "><" in body
                else f"{body}{joined}"
            )
        return [Act(Deed.MARKUP, content=body)]
    if re.search(r"\bscript|javascript|onerror\b", text, re.IGNORECASE):
        body = f"<script>fetch('{url}{joined}')</script>" if url else f"<script>alert('{joined}')</script>"
    elif re.search(r"\bansi|terminal|escape (?:code|sequence)", text, re.IGNORECASE):
        body = f"\x1b[31m{joined}\x1b[0m"
    elif re.search(r"\btemplate|jinja|freemarker|\berb\b|expression language", text, re.IGNORECASE):
        body = _expression(text, joined)
    elif re.search(r"\bhtml|<img|\bimg\b|\btag\b|iframe", text, re.IGNORECASE) and not re.search(
        "markdown", text, re.IGNORECASE
    ):
        body = f'<img src="{url}{joined}" alt="">' if url else f'<b onclick="x()">{joined}</b>'
    elif re.search(r"\bimage|picture|pixel|logo|banner|badge\b", text, re.IGNORECASE):
        body = f"![image]({url}{joined})"
    elif url:
        body = f"[details]({url}{joined})"
    else:
        return []
    return [Act(Deed.MARKUP, content=body)]


def _expression(text: str, joined: str) -> str:
    """A template expression in the notation that `text` names."""
    if re.search(r"dollar|freemarker|velocity|\$", text, re.IGNORECASE):
        return f"${{'{joined}'}}"
    return f"<%= '{joined}' %>" if re.search(r"\berb\b|percent", text, re.IGNORECASE) else f"{{{{ '{joined}' }}}}"


def _opening(text: str) -> str:
    found = re.search(
        r"\b(?:begin|start|open|preface|commence|prefix)\w*\b[^.\n\"'`“]{0,60}?(?:with|by)[^.\n\"'`“]{0,40}[\"'`“]([^\"'`”\n]{2,80})[\"'`”]",
        text,
        re.IGNORECASE,
    )
    return found[1] if found else ""


def _tool_for(named: list[str], pattern: str) -> str:
    return next((t for t in named if re.search(pattern, t, re.IGNORECASE)), "")


def _arguments(text: str, tool: str) -> dict[str, str]:
    """Arguments written as JSON after the tool's name, or as `name=value` pairs."""
    after = text[text.find(tool) + len(tool) :]
    brace = re.search(r"\{[^{}]*\}", after)
    if brace:
        try:
            return {str(k): str(v) for k, v in json.loads(brace.group(0)).items()}
        except ValueError:
            pass
    pairs = re.findall(r"\b([a-z_]\w*)\s*(?:=|:)\s*(\"[^\"\n]*\"|'[^'\n]*'|`[^`\n]*`|[^\s,;)]+)", after)
    return {name: value.strip("\"'`.") for name, value in pairs if name not in ("http", "https")}


def _disguise_wanted(text: str) -> str:
    found = re.search(
        r"base64|rot13|hex\b|revers|backward|spell|translat\w* (?:in)?to (\w+)|json|poem|upper", text, re.IGNORECASE
    )
    return found.group(0).lower() if found else ""


def _first(values: Sequence[str]) -> str:
    return values[0] if values else ""


def with_content(act: Act, content: str) -> Act:
    return replace(act, content=content, wants_data=False)
