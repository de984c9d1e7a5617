"""Votes by a provider's batch interface: hand in, wait, read, and ask again one by one for what was malformed.

The batch's name is written down before waiting. An execution that takes up the same questions of the same judge finds
it there and goes on waiting, so an interrupted run pays once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.durable import replace_durably
from tasks.interruption import STOPPING, StoppedError
from tasks.judging.bill import Bill
from tasks.judging.egress import Shown
from tasks.judging.judge import failed_vote
from tasks.judging.vendor_judge import VendorJudge
from tasks.judging.vendors.batches import BATCHES, BatchFailed, Lines
from tasks.records import Case, Vote
from tasks.targets.budget import Amount
from tasks.targets.limiter import Limiter
from tasks.targets.wire import Answer, Wire

Question = tuple[Case, Sequence[Vote]]


class BatchJudge(VendorJudge):
    """A judge that hands its questions in together."""

    batch = True

    async def _each(self, questions: Sequence[Question], repeat: int) -> list[Vote]:
        votes = await _batch_votes(self, questions, repeat) if questions else []
        return [replace(vote, repeat=repeat) for vote in votes]


async def _batch_votes(judge: VendorJudge, questions: Sequence[Question], repeat: int) -> list[Vote]:
    """One vote per question, in order."""
    votes: dict[int, Vote] = {}
    asked: list[tuple[int, Shown, dict[str, Any], Amount]] = []
    for i, (case, others) in enumerate(questions):
        visible = judge.visible(case, others)
        if isinstance(visible, Vote):
            votes[i] = visible
            continue
        ask = judge.ask(case, visible, others, repeat, None)
        most = judge.most(ask, batch=True)
        if not (judge.budget.reserve(most) and judge.take_request()):
            votes[i] = failed_vote(judge.spec, case, judge.prompt.role, "budget", "budget reached")
            continue
        asked.append((i, visible, judge.format.body(ask), most))
    limiter = Limiter()
    handing_in = judge.wire(limiter, charged=False)  # every question was charged as a request above
    wire = judge.wire(limiter)
    try:
        failure, lines = None, Lines()
        if asked:
            try:
                lines = await _answers(
                    judge, handing_in, {i: body for i, _, body, _ in asked}, _note(judge, questions, repeat)
                )
            except BatchFailed as e:
                failure = str(e)
        for i, visible, body, most in asked:
            case, others = questions[i]
            reply = lines.get(i)
            bill = Bill(requests=1, sent=len(json.dumps(body, separators=(",", ":"))))
            if reply is None:
                judge.budget.settle(most, Amount())
                kind = failure or "batch_failed"
                vote = failed_vote(judge.spec, case, judge.prompt.role, kind, f"no usable reply: {kind}")
                votes[i] = bill.on(vote, judge.host)
                continue
            said = judge.format.read(reply)
            cost = judge.model.micro_usd(said.usage, batch=True) if judge.model else None
            judge.budget.settle(most, Amount(0, (said.usage.tokens_in or 0) + (said.usage.tokens_out or 0), cost or 0))
            bill.raw_sha256 = sha256(json.dumps(reply, sort_keys=True).encode()).hexdigest()
            bill.count(said.usage, cost)
            opinion = judge.opinion(case, visible, others, said)
            votes[i] = (
                bill.on(opinion.vote, judge.host)
                if opinion.defect is None
                else await judge.ask_again(wire, limiter, case, visible, others, repeat, opinion.defect, bill)
            )
    finally:
        await handing_in.close()
        await wire.close()
    return [votes[i] for i in range(len(questions))]


async def _answers(judge: VendorJudge, wire: Wire, bodies: dict[int, dict[str, Any]], note: Path | None) -> Lines:
    """The replies, by number of the question. Raises BatchFailed, and StoppedError when the run is to end."""
    batches, connection = BATCHES[judge.spec.provider], judge.connection
    call = partial(_call, judge, wire)
    name = _noted(note)
    try:
        if name is None:
            name = await batches.submit(call, judge.spec.model, bodies)
            if note is not None:
                note.parent.mkdir(parents=True, exist_ok=True)
                replace_durably(note, json.dumps({"batch": name, "judge": judge.spec.name}).encode())
        while not (state := await batches.look(call, name)).done:
            connection.progress(judge.spec.name, state.answered, len(bodies))
            if STOPPING.is_set():
                raise StoppedError(f"batch {name} of judge {judge.spec.name} goes on at the provider")
            await asyncio.sleep(connection.batch_poll_s)
        connection.progress(judge.spec.name, len(bodies), len(bodies))
        return await batches.results(call, state)
    except BatchFailed:
        if note is not None:
            note.unlink(missing_ok=True)  # the next attempt hands the questions in anew
        raise


async def _call(
    judge: VendorJudge,
    wire: Wire,
    method: str,
    path: str,
    body: dict[str, Any] | bytes | None,
    *,
    headers: dict[str, str] | None = None,
    decode: Any = None,
) -> Answer:
    chosen = judge.format.headers(judge.connection.key) | (headers or {})
    return await wire.send(method, f"{judge.connection.url}{path}", body, None, headers=chosen, decode=decode)


def _note(judge: VendorJudge, questions: Sequence[Question], repeat: int) -> Path | None:
    """The file that names the batch of these questions: of this judge on these cases and votes."""
    if judge.connection.batch_folder is None:
        return None
    parts = [judge.spec.name, judge.spec.version, judge.prompt.role, str(repeat)]
    for case, votes in questions:
        parts += [case.attempt_id, *(f"{v.judge_id}={v.verdict.value}" for v in votes)]
    return judge.connection.batch_folder / f"{sha256(chr(10).join(parts).encode()).hexdigest()[:32]}.json"


def _noted(note: Path | None) -> str | None:
    if note is None or not note.is_file():
        return None
    try:
        name = json.loads(note.read_text(encoding="utf-8"))["batch"]
    except (ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None
