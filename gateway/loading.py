"""From a policy's source to the rules that requests run under."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, TypeVar

from gateway.errors import AispmError, ConfigError
from gateway.filter import RuleSet
from gateway.limit_check import check_limits
from gateway.pattern_files import load_patterns
from gateway.policy.bundle import Policy
from gateway.policy.files import PublishedFolder, Source, load_policy
from gateway.policy.refused import PolicyError
from gateway.settings import GatewaySettings
from gateway.tool_poison import TOOL_POISON

T = TypeVar("T")
NOT_COMPILED = frozenset(
    {"audience", "epoch", "root_version", "version", "issued", "expires", "sha256", "key_id"}
    | {"agents", "tools", "tool_chains", "tool_loops", "mcp_server_requests", "budgets", "rates", "prices"}
)
"""Fields of a policy that are read from it at each request; all others are compiled into a `RuleSet`."""


class Loaded(NamedTuple):
    """`rules` may be used; `refused` says why they are not the newest that was offered, if so."""

    rules: RuleSet
    refused: AispmError | None = None


class Loader:
    """Reads and verifies the policy of one gateway; called at the start and for every reload."""

    def __init__(self, settings: GatewaySettings, now: Callable[[], datetime]) -> None:
        """`now`: the wall clock that expiry is measured with, timezone-aware."""
        self._settings, self._now = settings, now
        self._patterns = load_patterns()

    def __call__(self, current: RuleSet | None = None) -> Loaded:
        """The newest policy; with `on_stale = "keep"` the one accepted last where the newest is refused, as long as it
        is in date and its key was not revoked. Raises AispmError when there is none that may be used."""

        def rules(policy: Policy) -> RuleSet:
            return self._rules(policy, current)

        offered = self._offered()
        try:
            return Loaded(self._load(offered, rules))
        except AispmError as refused:
            if offered is None or self._settings.policy.on_stale == "deny":
                raise
            try:
                return Loaded(self._load(None, rules), refused)
            except AispmError:
                raise refused from None

    def check(self) -> None:
        """That the policy which the settings name, and no older one, may be in force. Raises AispmError."""
        self._load(self._offered(), lambda policy: self._rules(policy, None))

    def remember(self, source: Source | None) -> None:
        """Verify what `source` offers (None: what is remembered) and write it into the memory, for workers to take
        over. Raises AispmError."""
        self._load(source, self._check)

    def _offered(self) -> Source | None:
        """Where the settings lead; None with a policy server: whoever talks to it writes the memory."""
        file = self._settings.policy.file
        return None if file is None else PublishedFolder(file)

    def _load(self, source: Source | None, use: Callable[[Policy], T]) -> T:
        settings = self._settings
        return load_policy(source, settings.policy.root, settings.gateway_id, settings.policy_memory, self._now(), use)

    def _check(self, policy: Policy) -> None:
        known = {TOOL_POISON, *(p.id for p in (*self._patterns, *policy.custom_patterns))}
        if unknown := sorted(set(policy.rules) - known):
            # A rule that cannot be enforced must not look as if it were.
            raise ConfigError(f"the policy has rules for patterns that this gateway lacks: {', '.join(unknown)}")
        check_limits(policy, self._now().timestamp())

    def _rules(self, policy: Policy, current: RuleSet | None) -> RuleSet:
        self._check(policy)
        if current is not None and same_scan(current.policy, policy):
            # Compiling takes a second of every core of a fleet; a revocation must not wait for it.
            return replace(current, policy=policy)
        try:
            return RuleSet.build(policy, self._patterns)
        except Exception as e:
            raise PolicyError("content", f"its patterns cannot be compiled ({type(e).__name__})") from e


def same_scan(one: Policy, other: Policy) -> bool:
    """Whether both look for the same, so that the rules compiled for one serve the other.

    Sections that are not known to be left out of compiling count as different: a new one costs a second, not a rule.
    """
    return replace(one, **{name: getattr(other, name) for name in NOT_COMPILED}) == other
