"""Ask every judge about every case: offline ones in this thread, live ones side by side over the network.

A judge is live when it can answer many cases at once (`LiveJudge`); one event loop then serves all of them. Nothing
is lost: each judge gives one vote per case, an `error` vote where it failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from tasks.judging.judge import Judge, MetaJudge, call_judge, call_meta
from tasks.records import Case, Vote


@runtime_checkable
class LiveJudge(Protocol):
    """A judge over the network. Neither call raises for what the far side does."""

    async def judge_all(self, cases: Sequence[Case], repeat: int = 0) -> list[Vote]:
        """One checked vote per case, in order. An odd `repeat` asks with labels and fields the other way round."""
        ...

    async def arbitrate_all(self, cases: Sequence[Case], votes: Sequence[Sequence[Vote]]) -> list[Vote]:
        """One checked meta vote per case, in order."""
        ...


def ask_judges(judges: Sequence[Judge], cases: Sequence[Case], repeat: int = 0) -> list[list[Vote]]:
    """For each case the votes of all judges, in the order of `judges`.

    For repeats 1 to 9, the same case in another order, offline judges are not asked: they read every order alike.
    """
    live = {i: judge for i, judge in enumerate(judges) if isinstance(judge, LiveJudge)}
    answers = dict(zip(live, _together([judge.judge_all(cases, repeat) for judge in live.values()]), strict=True))
    if repeat % 10 == 0:
        for i, judge in enumerate(judges):
            if i not in live:
                answers[i] = [replace(call_judge(judge, case), repeat=repeat) for case in cases]
    return [[answers[i][n] for i in sorted(answers)] for n in range(len(cases))]


def ask_meta(meta: MetaJudge, cases: Sequence[Case], votes: Sequence[Sequence[Vote]]) -> list[Vote]:
    """The meta-judge's vote on each case, given the votes of the judges on it."""
    if isinstance(meta, LiveJudge):
        return _together([meta.arbitrate_all(cases, votes)])[0]
    return [call_meta(meta, case, own) for case, own in zip(cases, votes, strict=True)]


def _together(calls: Sequence[Coroutine[Any, Any, list[Vote]]]) -> list[list[Vote]]:
    async def gather() -> list[list[Vote]]:
        return list(await asyncio.gather(*calls))

    return asyncio.run(gather()) if calls else []
