"""One live judge: prompt, request, strict reading, one re-ask, vote. Whatever goes wrong is an `error` vote.

A worker holds one connection; all workers of a judge share a limiter, so that one Retry-After pauses all of them.
Throttling, outages and timeouts are repeated within the budget and never become a verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tasks.judging.bill import Bill
from tasks.judging.consensus import counts_as_vote
from tasks.judging.egress import NotRedactable, Shown, literal, redacted, shown
from tasks.judging.judge import JudgeSpec, checked_vote, failed_vote, make_vote
from tasks.judging.models import Model
from tasks.judging.parse import MAX_RATIONALE, VOTE_SCHEMA, Answer, Malformed, Refused, parse, strict_object
from tasks.judging.prompt import Prompt
from tasks.judging.vendors.format import Ask, Format, Said, Usage
from tasks.records import Case, Verdict, Vote
from tasks.targets.budget import Amount, Budget
from tasks.targets.limiter import Limiter
from tasks.targets.wire import Answer as Exchange
from tasks.targets.wire import Pace, Wire

Progress = Callable[[str, int, int], None]
"""(judge, questions of a batch answered, questions in it)."""
_GIVE_UP = frozenset({"auth", "http_400", "http_404", "http_422"})
"""The request itself is refused: the next one would be, too."""
_CHARACTERS_PER_TOKEN = 2.5
"""Few, so that an estimate before sending is rather too high; English has about four."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How a live judge is reached and held to its limits."""

    url: str
    host: str
    key: str | None
    """Resolved from its reference; never stored, logged or shown."""
    mode: str
    """Redaction, one of `egress.MODES`."""
    concurrency: int = 4
    timeout_s: float = 60.0
    pace: Pace = field(default_factory=Pace)
    caching: bool = True
    batch_poll_s: float = 30.0
    """Seconds between looks at a batch."""
    batch_folder: Path | None = None
    """Where the names of batches in flight are written down."""
    progress: Progress = lambda judge, answered, asked: None

    def __repr__(self) -> str:
        return f"Connection({self.host})"


class Opinion(NamedTuple):
    """What one question led to, before it is a vote."""

    vote: Vote
    defect: str | None
    """What was wrong with the answer, when asking again may help."""


class VendorJudge:
    """A judge or meta-judge behind one provider's wire format; see `asking.LiveJudge`."""

    batch = False
    """Whether questions are handed in together, at the price of a batch."""

    def __init__(
        self,
        spec: JudgeSpec,
        wire_format: Format,
        connection: Connection,
        prompt: Prompt,
        budget: Budget,
        *,
        model: Model | None,
        max_output_tokens: int = 2_000,
        temperature: float = 0.0,
    ) -> None:
        self.spec = spec
        self.format = wire_format
        self.connection = connection
        self.prompt = prompt
        self.budget = budget
        self.model = model
        self._max_output_tokens = max_output_tokens
        self._temperature = temperature if model is not None and model.temperature else None

    def judge(self, case: Case) -> Vote:
        """One vote on one case, for callers that have only one."""
        return asyncio.run(self.judge_all([case]))[0]

    def arbitrate(self, case: Case, votes: Sequence[Vote]) -> Vote:
        """One meta vote on one case."""
        return asyncio.run(self.arbitrate_all([case], [votes]))[0]

    async def judge_all(self, cases: Sequence[Case], repeat: int = 0) -> list[Vote]:
        return await self._each([(case, ()) for case in cases], repeat)

    async def arbitrate_all(self, cases: Sequence[Case], votes: Sequence[Sequence[Vote]]) -> list[Vote]:
        return await self._each(list(zip(cases, votes, strict=True)), 0)

    async def _each(self, questions: Sequence[tuple[Case, Sequence[Vote]]], repeat: int) -> list[Vote]:
        limiter = Limiter(self.connection.concurrency)

        async def ask(wire: Wire, number: int) -> Vote:
            case, votes = questions[number]
            return replace(await self._vote(wire, limiter, case, votes, repeat), repeat=repeat)

        workers = min(self.connection.concurrency, len(questions))
        return await in_workers(len(questions), workers, lambda: self.wire(limiter), ask)

    def wire(self, limiter: Limiter, *, charged: bool = True) -> Wire:
        """A connection of one worker. Unless `charged`, its requests are paid for otherwise."""
        c = self.connection
        return Wire(
            (c.url,),
            limiter,
            timeout_s=c.timeout_s,
            pace=c.pace,
            take=self.take_request if charged else lambda: True,
            decode=strict_object,
            user_agent="aispm-judge",
        )

    def take_request(self) -> bool:
        """Charge one request, repeated ones too; False when none is left."""
        return self.budget.reserve(Amount(1))

    async def _vote(self, wire: Wire, limiter: Limiter, case: Case, votes: Sequence[Vote], repeat: int) -> Vote:
        visible = self.visible(case, votes)
        if isinstance(visible, Vote):
            return visible
        bill = Bill()
        opinion = await self._once(wire, limiter, case, visible, votes, repeat, None, bill)
        if opinion.defect is None:
            return bill.on(opinion.vote, self.host)
        return await self.ask_again(wire, limiter, case, visible, votes, repeat, opinion.defect, bill)

    async def ask_again(
        self,
        wire: Wire,
        limiter: Limiter,
        case: Case,
        visible: Shown,
        votes: Sequence[Vote],
        repeat: int,
        defect: str,
        bill: Bill,
    ) -> Vote:
        """The vote after one more question that names the defect of the first answer; `bill` holds that one's cost."""
        opinion = await self._once(wire, limiter, case, visible, votes, repeat, defect, bill)
        return bill.on(opinion.vote, self.host)

    async def _once(
        self,
        wire: Wire,
        limiter: Limiter,
        case: Case,
        visible: Shown,
        votes: Sequence[Vote],
        repeat: int,
        defect: str | None,
        bill: Bill,
    ) -> Opinion:
        ask = self.ask(case, visible, votes, repeat, defect)
        most = self.most(ask)
        if not self.budget.reserve(most):
            return Opinion(failed_vote(self.spec, case, self.prompt.role, "budget", "budget reached"), None)
        exchange = await wire.send(
            "POST",
            f"{self.connection.url}{self.format.path(ask.model)}",
            self.format.body(ask),
            None,
            headers=self.format.headers(self.connection.key),
        )
        said = self.format.read(exchange.data) if exchange.error_kind is None else None
        usage = said.usage if said else Usage()
        cost = self.model.micro_usd(usage) if self.model and said else None
        self.budget.settle(most, Amount(0, (usage.tokens_in or 0) + (usage.tokens_out or 0), cost or 0))
        bill.add(exchange, usage, cost)
        return self._failed(case, exchange, limiter) if said is None else self.opinion(case, visible, votes, said)

    @property
    def host(self) -> str:
        return self.connection.host

    def visible(self, case: Case, votes: Sequence[Vote]) -> Shown | Vote:
        """The case as it may be sent, or the vote that says why it is not."""
        if self.prompt.role == "meta" and sum(counts_as_vote(v) for v in votes) < 2:
            return failed_vote(self.spec, case, "meta", "judges_unavailable", "fewer than two votes to weigh")
        try:
            return shown(case, self.connection.mode)
        except NotRedactable as e:
            return failed_vote(self.spec, case, self.prompt.role, "not_redactable", str(e))

    def ask(self, case: Case, visible: Shown, votes: Sequence[Vote], repeat: int, defect: str | None) -> Ask:
        """The question on one case. The seed leaves out `repeat`, so that an odd one is the same order turned round."""
        user = self.prompt.user(
            visible, f"{case.attempt_id} {self.spec.name}", swapped=repeat % 2 == 1, votes=votes, defect=defect
        )
        return Ask(
            self.spec.model,
            self.prompt.system(case.rubric),
            user,
            VOTE_SCHEMA,
            self._max_output_tokens,
            self._temperature,
            self.model.structured if self.model else "json_schema",
            self.connection.caching,
        )

    def most(self, ask: Ask, *, batch: bool = False) -> Amount:
        """What the question may cost at most."""
        tokens_in = int((len(ask.system) + len(ask.user) + 2_000) / _CHARACTERS_PER_TOKEN)
        usage = Usage(tokens_in, 0, tokens_in, ask.max_tokens)
        cost = self.model.micro_usd(usage, batch=batch) if self.model else 0
        return Amount(0, tokens_in + ask.max_tokens, cost or 0)

    def opinion(self, case: Case, visible: Shown, votes: Sequence[Vote], said: Said) -> Opinion:
        """The vote in a reply, checked; `defect` when the reply was malformed and may be asked for again."""
        role = self.prompt.role
        if said.fault == "malformed":
            return self._malformed(case, said.why)
        if said.fault is not None:
            return Opinion(failed_vote(self.spec, case, role, said.fault, said.why), None)
        try:
            answer = parse(said.text)
        except Malformed as e:
            return self._malformed(case, str(e))
        except Refused as e:
            return Opinion(failed_vote(self.spec, case, role, "judge_refused", str(e)), None)
        if role == "meta" and answer.verdict not in {v.verdict for v in votes if counts_as_vote(v)} | {
            Verdict.UNDECIDED
        }:
            return self._malformed(case, "a verdict that no reviewer gave")
        return Opinion(self._checked(case, visible, answer), None)

    def _checked(self, case: Case, visible: Shown, answer: Answer) -> Vote:
        role, span = self.prompt.role, answer.evidence_span
        if span is not None and not span.startswith("trace:") and not literal(span, visible.response):
            return failed_vote(self.spec, case, role, "span_not_found", "the quoted evidence is not in the response")
        vote = make_vote(
            self.spec, case, answer.verdict, answer.confidence, stored(answer.rationale), span=span, role=role
        )
        # What was sent is what a quote must stand in: parts of the stored response may have been cut or redacted.
        sent = replace(case, response=visible.response)
        checked = checked_vote(vote, self.spec, sent, role)
        if checked.error_kind is not None:
            return checked
        kept = stored(span) if span is not None else None
        return replace(checked, evidence_span=kept, score=answer.score, rubric_item=stored(answer.rubric_item))

    def _malformed(self, case: Case, why: str) -> Opinion:
        return Opinion(failed_vote(self.spec, case, self.prompt.role, "malformed", why), why)

    def _failed(self, case: Case, exchange: Exchange, limiter: Limiter) -> Opinion:
        kind = exchange.error_kind or "judge_failed"
        if kind in _GIVE_UP:
            limiter.give_up(kind)
        if kind == "malformed":
            return self._malformed(case, "not JSON, or duplicate keys")
        kind = {"filtered": "judge_refused", "too_large": "malformed"}.get(kind, kind)
        why = f"no usable reply: {exchange.error_kind}"
        return Opinion(failed_vote(self.spec, case, self.prompt.role, kind, why), None)


def stored(text: str) -> str:
    """A model's words as they may be kept: without secrets and personal data, and short."""
    short = text[:MAX_RATIONALE].encode("utf-8", "replace").decode("utf-8")
    try:
        return redacted(short)
    except NotRedactable:
        return "[not kept: not readable]"


async def in_workers(
    count: int, workers: int, connect: Callable[[], Wire], ask: Callable[[Wire, int], Awaitable[Vote]]
) -> list[Vote]:
    """The votes on questions 0 to `count`, in order, asked by `workers` at a time over a connection each."""
    votes: dict[int, Vote] = {}
    numbers: Iterable[int] = iter(range(count))

    async def work() -> None:
        wire = connect()
        try:
            for number in numbers:
                votes[number] = await ask(wire, number)
        finally:
            await wire.close()

    await asyncio.gather(*(work() for _ in range(workers)))
    return [votes[n] for n in range(count)]
