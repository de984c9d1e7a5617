"""Votes through the providers' batch interfaces, on the fakes; their own clients read the same batches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.interruption import STOPPING, StoppedError
from tasks.records import Case, Verdict

Make = Callable[..., Any]
PROVIDERS = ("anthropic", "openai", "google")
every_provider = pytest.mark.parametrize("provider", PROVIDERS)


def cases(count: int) -> list[Case]:
    return [Case(f"a{i}", "f", "goal", (), f"answer {i}", (), "Did it?") for i in range(count)]


def by_number(fakes: Any) -> Callable[..., Any]:
    """A vote that quotes its own case, so that a mix-up of answers shows."""
    return lambda case, model: fakes.vote("vulnerable", evidence_span=case["response"], score=4)


@every_provider
def test_a_batch_gives_each_case_its_own_vote_at_half_the_price(
    provider: str, fake: Any, fakes: Any, judge_at: Make
) -> None:
    fake.opinion, fake.polls_until_done = by_number(fakes), 3
    judge = judge_at(provider, batch=True, batch_poll_s=0.001)
    single = judge_at(provider).judge(cases(1)[0])
    fake.requests.clear()
    votes = asyncio.run(judge.judge_all(cases(4)))
    assert [v.evidence_span for v in votes] == [f"answer {i}" for i in range(4)]
    assert {v.verdict for v in votes} == {Verdict.VULNERABLE}
    assert {v.cost_micro_usd for v in votes} == {-(-single.cost_micro_usd // 2)}
    assert all(v.egress_bytes > 1000 and v.egress_requests == 1 and v.egress_host == "127.0.0.1" for v in votes)
    assert not any(path.endswith((":generateContent", "/completions", "/messages")) for path, _, _ in fake.requests)


@every_provider
def test_what_a_batch_answers_badly_is_asked_again_alone(provider: str, fake: Any, fakes: Any, judge_at: Make) -> None:
    broken = {"answer 1", "answer 2"}

    def opinion(case: Any, model: str) -> Any:
        if case["response"] in broken:
            broken.discard(case["response"])
            return "no JSON"
        return fakes.vote()

    fake.opinion = opinion
    votes = asyncio.run(judge_at(provider, batch=True, batch_poll_s=0.001).judge_all(cases(3)))
    assert [v.verdict for v in votes] == [Verdict.RESISTANT] * 3
    assert [v.egress_requests for v in votes] == [1, 2, 2]


@every_provider
def test_an_interrupted_batch_is_waited_for_again_not_paid_again(
    provider: str, fake: Any, fakes: Any, judge_at: Make, tmp_path: Path
) -> None:
    fake.opinion, fake.polls_until_done = by_number(fakes), 10**6
    judge = judge_at(provider, batch=True, batch_poll_s=0.001, batch_folder=tmp_path)
    seen: list[tuple[str, int, int]] = []

    def stop(*progress: Any) -> None:
        seen.append(progress)
        STOPPING.set()

    object.__setattr__(judge.connection, "progress", stop)
    try:
        with pytest.raises(StoppedError):
            asyncio.run(judge.judge_all(cases(3)))
    finally:
        STOPPING.clear()
    assert seen[0][2] == 3
    assert len(fake.batches) == 1
    fake.polls_until_done = 1
    again = judge_at(provider, batch=True, batch_poll_s=0.001, batch_folder=tmp_path)
    votes = asyncio.run(again.judge_all(cases(3)))
    assert [v.evidence_span for v in votes] == [f"answer {i}" for i in range(3)]
    assert len(fake.batches) == 1
    asyncio.run(again.judge_all(cases(2)))
    assert len(fake.batches) == 2


@every_provider
def test_a_batch_that_is_refused_is_an_error_for_each_case(
    provider: str, fake: Any, judge_at: Make, tmp_path: Path
) -> None:
    fake.faults.extend([403])
    judge = judge_at(provider, batch=True, batch_poll_s=0.001, batch_folder=tmp_path)
    votes = asyncio.run(judge.judge_all(cases(2)))
    assert [(v.verdict, v.error_kind) for v in votes] == [(Verdict.ERROR, "auth")] * 2
    assert list(tmp_path.iterdir()) == []


@every_provider
def test_the_budget_holds_for_batches_too(provider: str, fake: Any, judge_at: Make) -> None:
    votes = asyncio.run(judge_at(provider, batch=True, batch_poll_s=0.001, max_requests=2).judge_all(cases(4)))
    assert [v.error_kind for v in votes].count("budget") == 2
    assert [v.verdict for v in votes].count(Verdict.RESISTANT) == 2


def test_the_providers_clients_read_the_same_batches(fake: Any, fakes: Any, judge_at: Make) -> None:
    import anthropic
    import openai
    from google import genai
    from google.genai import types

    fake.opinion = by_number(fakes)
    for provider in PROVIDERS:
        asyncio.run(judge_at(provider, batch=True, batch_poll_s=0.001).judge_all(cases(2)))
    claude = anthropic.Anthropic(api_key=fakes.KEY, base_url=fake.url, max_retries=0)
    assert claude.messages.batches.retrieve("msgbatch_1").processing_status == "ended"
    results = {r.custom_id: r.result.message.content[0].input for r in claude.messages.batches.results("msgbatch_1")}
    assert {k: v["evidence_span"] for k, v in results.items()} == {"case-0": "answer 0", "case-1": "answer 1"}

    gpt = openai.OpenAI(api_key=fakes.KEY, base_url=f"{fake.url}/v1", max_retries=0)
    batch = gpt.batches.retrieve("batch_2")
    assert batch.status == "completed"
    answered = [json.loads(line) for line in gpt.files.content(batch.output_file_id).text.splitlines()]
    assert {a["custom_id"] for a in answered} == {"case-0", "case-1"}
    uploaded = fake.files[batch.input_file_id]
    again = gpt.files.create(file=("batch.jsonl", uploaded), purpose="batch")
    assert fake.files[again.id] == uploaded

    gemini = genai.Client(api_key=fakes.KEY, http_options=types.HttpOptions(base_url=fake.url, api_version="v1beta"))
    job = gemini.batches.get(name="batches/3")
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED
    texts = [r.response.text for r in job.dest.inlined_responses]
    assert [json.loads(t)["evidence_span"] for t in texts] == ["answer 0", "answer 1"]
    gemini.batches.create(
        model="gemini-2.5-flash",
        src=[types.InlinedRequest(contents="hi", metadata={"key": "case-0"})],
        config=types.CreateBatchJobConfig(display_name="aispm"),
    )
    ours, theirs = (b["batch"] for _, _, b in fake.requests if isinstance(b, dict) and "batch" in b)
    assert ours["displayName"] == theirs["displayName"]
    one, other = (b["inputConfig"]["requests"]["requests"][0] for b in (ours, theirs))
    assert set(one) == set(other) == {"request", "metadata"}
    assert one["metadata"] == other["metadata"]
