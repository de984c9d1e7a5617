"""Bodies and texts in, decisions out. No I/O.

An `Inspection` follows one request and its reply: it counts every hit by rule, place and action, and knows the
strongest decision so far. It never keeps what was matched.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple

from gateway.decoders import Unreadable
from gateway.egress import egress_patterns
from gateway.engine import Engine
from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.joined import APART, Joined, apart, seams
from gateway.pattern_files import INSTRUCTIONS, Pattern, load_patterns
from gateway.policy.actions import INJECTION
from gateway.policy.bundle import ACTIONS, Actions, Policy
from gateway.policy.injection import KINDS
from gateway.reasons import Refusal
from gateway.tool_poison import TOOL_POISON, poisoned
from gateway.tools import Decision, ToolRules, definition_sha256
from gateway.views import Hit

BETWEEN = ("", " ")
"""What a reader may put between two texts: values cut at the one are whole again, groups of digits at the other."""
ALONE = ("pii",)
"""Categories too common to be looked for over seams: any two numbers may make a telephone number."""
_POISON_ACTIONS = Actions("block", "redact")
_DRAWN = ("credentials", "api_keys", "secrets", "seed_phrases")
"""Categories of values drawn from so many that their keyed hash gives nothing away, even to who has the key."""
_THOUGHT_UP = "DLP.SECRET.GENERIC"
"""Reason of those among them that people think up, such as passwords."""
_TOOL_LOCATIONS = ("tool_def", "tool_args", "tool_result")


class Match(NamedTuple):
    """One rule seen in one place."""

    pattern: Pattern
    action: str
    scope: str
    location: str
    view: str = "raw"
    """How the text had to be read; see `gateway.views.Hit`."""


class Seen(NamedTuple):
    """The first hit of a rule in one place: where, how long, and what tells whether it is the same value elsewhere."""

    offset: int | None
    """Characters before it in its text."""
    length: int
    hmac: str | None
    """None for values that can be guessed, and where not the value but its encoding stands in the text."""


class ToolUse(NamedTuple):
    """One tool seen in one place; `tool_id` is the name if listed, else its keyed hash."""

    tool_id: str
    decision: Decision
    scope: str
    location: str
    def_hash: str | None = None
    args_hmac: str | None = None

    @property
    def action(self) -> str:
        """What becomes of it."""
        return self.decision.action


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A policy joined with the patterns: what to look for on each side, and what then happens."""

    policy: Policy
    engines: dict[str, Engine]
    actions: dict[str, Actions]
    instructions: dict[tuple[str, str], Pattern]
    """(pattern id, kind of instruction) -> the pattern with the reason of that kind."""

    @staticmethod
    def build(policy: Policy, patterns: Sequence[Pattern]) -> RuleSet:
        """The built-in `patterns` and the policy's own; those that it allows in a scope are not looked for there."""
        patterns = (*patterns, *policy.custom_patterns, *egress_patterns(policy.egress))
        spoken = load_patterns(INSTRUCTIONS)
        instructions = {(p.id, kind): replace(p, reason=reason) for p in spoken for kind, reason in KINDS.items()}
        actions = {p.id: policy.actions(p.id, p.category, p.action) for p in patterns}
        engines = {
            scope: Engine((*(p for p in patterns if getattr(actions[p.id], scope) != "allow"), *spoken))
            for scope in (REQUEST, RESPONSE)
        }
        return RuleSet(policy, engines, actions, instructions)

    def judge(self, hit: Hit, scope: str, location: str) -> tuple[Pattern, str]:
        """(the pattern with the reason to report, what becomes of the hit); for instructions, by where they stand."""
        if hit.pattern.category != INJECTION:
            return hit.pattern, self.action(hit.pattern, scope)
        if location == "assistant":
            return hit.pattern, "allow"  # the model's own words are no instructions to it
        kind = "indirect" if location == "tool_result" else "direct"
        kind = "tool_poison" if location == "tool_def" else "obfuscated" if hit.view != "raw" else kind
        return self.instructions[hit.pattern.id, kind], self.policy.injection[kind]

    def action(self, pattern: Pattern, scope: str) -> str:
        """What the policy wants for a hit; a secret that cannot be cut out whole is blocked instead of redacted."""
        action: str = getattr(self.actions[pattern.id], scope)
        return "block" if action == "redact" and not pattern.redactable else action


class Inspection:
    """What was found in one exchange."""

    def __init__(self, rules: RuleSet, agent_id: str, asset_id: str | None = None) -> None:
        """`asset_id`: what the route leads to; tool rules may be bound to it."""
        self.rules = rules
        self.tools = ToolRules(rules.policy, agent_id, asset_id)
        self.matches: dict[Match, int] = {}
        self._first: dict[Match, Seen] = {}
        self.tool_uses: dict[ToolUse, int] = {}
        self.streamed_bytes = 0
        """Of output that came in a stream, in UTF-8: no fewer than its tokens. For streams that end uncounted."""
        self.usage_asked = True
        """Whether the client itself wants the token counts of a stream."""

    def count_output(self, text: str) -> None:
        """Note a piece of streamed output, as it comes. `Channel` does; what is held without one must be told here."""
        self.streamed_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def scan(self, fields: Fields) -> None:
        """Scan what was collected and redact in place what must be; blocks are noted, not raised (see `verdict`)."""
        engine, scope = self.rules.engines[fields.scope], fields.scope
        found: dict[int, list[Hit]] = {}
        try:
            # One scan of all readings: beginning one costs as much as a kilobyte of text.
            prose = fields.prose()
            readings = [apart(fields.texts), *seams(fields.texts, prose, BETWEEN if len(prose) > 1 else ())]
            begins = [0, *accumulate(len(r.text) + len(APART) for r in readings)]
            for hit in engine.scan(APART.join(r.text for r in readings)):
                n = bisect_right(begins, hit.start) - 1
                here = hit.moved(-begins[n])
                if n == 0:
                    self._locate(here, readings[0], fields, found)
                elif hit.pattern.category not in ALONE and len(readings[n].locate(here.start, here.end)) > 1:
                    self._locate(here, readings[n], fields, found)
        except Unreadable:
            raise Refusal("WIRE.UNSCANNABLE", "limit", scope) from None
        for index, hits in found.items():
            rewritable = fields.rewritable(index)
            clean = self.apply(fields.texts[index], hits, scope, fields.locations[index], 0, fixed=not rewritable)
            if rewritable and clean is not fields.texts[index]:
                fields.rewrite(index, clean)

    def _locate(self, hit: Hit, joined: Joined, fields: Fields, found: dict[int, list[Hit]]) -> None:
        """Put a hit where it lies; one that goes over a seam cannot be cut out, so it is noted here."""
        parts = joined.locate(hit.start, hit.end)
        if len(parts) == 1:
            found.setdefault(parts[0].text, []).append(hit.moved(parts[0].start - hit.start))
        else:
            place = fields.scope, fields.locations[parts[0].text]
            self._note(hit, joined.text, *place, parts[0].start - hit.start, fixed=True)

    def scan_apart(self, fields: Fields, blocked: str = "block") -> Refusal | None:
        """`scan` of one message among several: the refusal of this one, which says nothing of the others.

        What must be blocked is recorded as `blocked`.
        """
        before, self.matches = self.matches, {}
        try:
            self.scan(fields)
        finally:
            found, self.matches = self.matches, before
        refusal = None
        for match, count in found.items():
            noted = match
            if match.action == "block":
                refusal = refusal or Refusal(match.pattern.reason, scope=match.scope)
                noted = match._replace(action=blocked)
                self._first.setdefault(noted, self._first[match])
            self.matches[noted] = self.matches.get(noted, 0) + count
        return refusal

    def tree(self, value: Any, scope: str, location: str) -> Any:
        """Scan one value by itself, all that is in it; returns it redacted."""
        box, fields = [value], Fields(scope)
        fields.tree(box, 0, location)
        self.scan(fields)
        return box[0]

    def apply(
        self, text: str, hits: Sequence[Hit], scope: str, location: str, at: int | None = None, *, fixed: bool = False
    ) -> str:
        """Note `hits` and cut out those to be redacted; overlapping ones become one gap, named after the first.

        `at`: where `text` begins in what it is a piece of, None if that is not known. `fixed`: the text cannot be
        rewritten, so what would be redacted is blocked.
        """
        pieces, done = [], 0
        for hit in hits:
            if self._note(hit, text, scope, location, at, fixed) != "redact":
                continue
            if hit.start >= done:
                pieces += [text[done : hit.start], f"[REDACTED:{hit.pattern.id}]"]
            done = max(done, hit.end)
        return "".join(pieces) + text[done:] if done else text

    def _note(self, hit: Hit, text: str, scope: str, location: str, at: int | None, fixed: bool) -> str:
        """Count one hit in `text`; returns what becomes of it."""
        pattern, action = self.rules.judge(hit, scope, location)
        if action == "allow":
            return action
        if fixed and action == "redact":
            action = "block"
        key = Match(pattern, action, scope, location, hit.view)
        self.matches[key] = self.matches.get(key, 0) + 1
        if key not in self._first:
            offset = None if at is None else at + hit.start
            self._first[key] = Seen(offset, hit.end - hit.start, self._value_hash(hit, text))
        return action

    def _value_hash(self, hit: Hit, text: str) -> str | None:
        pattern = hit.pattern
        if hit.view != "raw" or pattern.category not in _DRAWN or pattern.reason == _THOUGHT_UP:
            return None
        return self.rules.policy.keyed_hash("match", text[hit.start : hit.end])

    def tool(self, name: str, scope: str, location: str) -> None:
        """Hold the name of a tool that is forced, or whose result is shown, against the agent's allowlist."""
        self._note_tool(name, self.tools.name(name), scope, location)

    def tool_definition(
        self, name: str, description: str, schema: Any, scope: str, more: Mapping[str, Any] | None = None
    ) -> None:
        """Hold a declared tool against the agent's rules; `more`: further members of `gateway.tools.DEFINITION`."""
        definition = {**(more or {}), "name": name, "description": description, "inputSchema": schema}
        sha256 = definition_sha256(definition)
        decision = self._defined(name, sha256, definition, scope)
        if decision.action == "redact":  # a request cannot do without what it declares
            decision = decision._replace(action="block")
        self._note_tool(name, decision, scope, "tool_def", def_hash=sha256)

    def _defined(self, name: str, sha256: str, definition: Mapping[str, Any], scope: str) -> Decision:
        """What the rules say of a definition; one that a pin approves may say what it likes."""
        decision, rule = self.tools.definition(name, sha256), self.tools.rule(name)
        if rule is None or decision.action != "allow" or rule.definition_sha256 is not None:
            return decision
        action: str = getattr(self.rules.policy.rules.get(TOOL_POISON, _POISON_ACTIONS), scope)
        if action == "allow" or not poisoned(sha256, definition):
            return decision
        return Decision(action, "INJECTION.TOOL_POISON", rule_id=TOOL_POISON)

    def tool_call(self, name: str, arguments: Any, scope: str, location: str, *, new: bool = False) -> None:
        """Hold a call against the agent's rules and the calls before it; `arguments`: parsed JSON, or free text.

        `new`: it is about to be made, as all calls in replies are; those of a request's history are counted by tool.
        """
        hmac = "" if arguments is None else self.tools.arguments_hmac(arguments)
        decision = self.tools.call(name, arguments, hmac)
        shown = hmac if new or scope == RESPONSE or decision.action != "allow" else None
        self._note_tool(name, decision, scope, location, args_hmac=shown or None)

    def listed_tool(self, definition: Mapping[str, Any], fields: Fields) -> bool:
        """Whether a tool that a server lists may be shown to the agent; `fields` are its texts.

        One that is not listed in the policy, is not the approved one or has instructions or secrets in its texts is
        left out of the list and recorded as `redact`: the rest of the list passes.
        """
        name: str = definition["name"]
        sha256 = definition_sha256(definition)
        decision = self._defined(name, sha256, definition, fields.scope)
        if decision.action in ("allow", "flag") and (refusal := self.scan_apart(fields, "redact")) is not None:
            decision = Decision("block", refusal.code)
        shown = decision.action in ("allow", "flag")
        noted = decision if shown else decision._replace(action="redact")
        self._note_tool(name, noted, fields.scope, "tool_def", def_hash=sha256)
        return shown

    def _note_tool(
        self,
        name: str,
        decision: Decision,
        scope: str,
        location: str,
        def_hash: str | None = None,
        args_hmac: str | None = None,
    ) -> None:
        tool_id = self.rules.policy.keyed_hash("tool", name) if self.tools.rule(name) is None else name
        use = ToolUse(tool_id, decision, scope, location, def_hash, args_hmac)
        self.tool_uses[use] = self.tool_uses.get(use, 0) + 1

    @property
    def decision(self) -> str:
        """The strongest action so far."""
        return max(
            [m.action for m in self.matches] + [t.action for t in self.tool_uses], key=ACTIONS.index, default="allow"
        )

    def reason(self) -> tuple[str | None, str | None]:
        """(reason code, scope) behind the decision; the first found among equals. (None, None) for allow."""
        decision = self.decision
        if decision == "allow":
            return None, None
        for use in self.tool_uses:
            if use.action == decision:
                return use.decision.code, use.scope
        match = next(m for m in self.matches if m.action == decision)
        return match.pattern.reason, match.scope

    def verdict(self, scope: str) -> None:
        """Raises Refusal when anything in `scope` must be blocked."""
        for use in self.tool_uses:
            if use.action == "block" and use.scope == scope:
                raise Refusal(use.decision.code or "POLICY.TOOL_DENIED", use.decision.detail, scope)
        for match in self.matches:
            if match.action == "block" and match.scope == scope:
                raise Refusal(match.pattern.reason, scope=scope)

    def rows(self, part: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
        """`match` and `tool` events, made by `part` (see `gateway.events.Exchange.part`)."""
        matches = [
            part(
                "match",
                decision=m.action,
                reason_code=m.pattern.reason,
                rule_id=m.pattern.id,
                rule_version=m.pattern.version,
                severity=m.pattern.severity,
                scope=m.scope,
                **_place(m.scope, m.location),
                view=m.view,
                match_offset=self._first[m].offset,
                match_length=self._first[m].length,
                match_hmac=self._first[m].hmac,
                match_count=count,
            )
            for m, count in self.matches.items()
        ]
        tools = [
            part(
                "tool",
                decision=t.action,
                reason_code=t.decision.code,
                reason_detail=t.decision.detail,
                rule_id=t.decision.rule_id,
                severity=None if t.action == "allow" else "high",
                scope=t.scope,
                matched_in="tools",
                layer="tool-call",
                location=t.location,
                tool_id=t.tool_id,
                tool_def_hash=t.def_hash,
                tool_args_hmac=t.args_hmac,
                match_count=count,
            )
            for t, count in self.tool_uses.items()
        ]
        return matches + tools


def _place(scope: str, location: str) -> dict[str, str | None]:
    """Columns that say where a text stood. A prompt comes here as the application's template has made it."""
    if location in _TOOL_LOCATIONS:
        return {"matched_in": "tools", "layer": "tool-call", "location": location}
    matched_in = {"header": "headers", "path": "url"}.get(location, "body")
    return {"matched_in": matched_in, "layer": "post-template" if scope == REQUEST else None, "location": location}
