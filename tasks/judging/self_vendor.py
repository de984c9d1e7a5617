"""A judge that reads its own maker's model: the vote counts, but it is marked and told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tasks.records import Verdict, Vote

_MODEL_MAKERS = (
    ("claude", ("claude", "anthropic.")),
    ("gpt", ("gpt-", "o1", "o3", "o4", "chatgpt")),
    ("gemini", ("gemini", "gemma")),
    ("llama", ("llama", "meta-llama", "meta.")),
    ("qwen", ("qwen",)),
    ("mistral", ("mistral", "mixtral", "ministral", "codestral")),
    ("deepseek", ("deepseek",)),
)


def maker_of_model(model: str) -> str | None:
    """Whose model a name such as `openai/gpt-6-luna` is; None when it does not say."""
    name = model.casefold().rpartition("/")[2]
    return next((maker for maker, starts in _MODEL_MAKERS if name.startswith(starts)), None)


def mark_self_vendor(
    votes: Iterable[Vote], families: Mapping[str, str], makers: Mapping[str, str], *, exclude: bool = False
) -> list[Vote]:
    """Votes of a judge on its own maker's model, marked; with `exclude` they no longer count.

    `families`: judge id -> family. `makers`: attempt id -> maker of the model under test.
    """
    marked = []
    for vote in votes:
        maker = makers.get(vote.attempt_id)
        if maker is not None and families.get(vote.judge_id) == maker:
            vote = replace(vote, self_vendor=True)
            if exclude and vote.error_kind is None:
                vote = replace(vote, verdict=Verdict.ERROR, confidence=0.0, error_kind="self_vendor")
        marked.append(vote)
    return marked
