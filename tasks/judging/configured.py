"""From the settings to a panel: live judges when three are declared, else the offline ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from gateway.secrets import resolve_secret
from tasks.judging.batch_judge import BatchJudge
from tasks.judging.independence import maker_of, meta_shares_maker, proof_label, uses_live_judges
from tasks.judging.judge import JudgeSpec
from tasks.judging.models import Model, known_model, own_price
from tasks.judging.offline import Panel, offline_panel
from tasks.judging.prompt import Prompt
from tasks.judging.vendor_judge import Connection, VendorJudge
from tasks.judging.vendors import FORMATS
from tasks.judging.vendors.batches import BATCHES
from tasks.judging_settings import JudgeSettings, JudgingSettings
from tasks.records import ProofLabel, canonical_json
from tasks.targets.addresses import origin
from tasks.targets.budget import Amount, Budget, Limits
from tasks.targets.wire import Pace

META = "meta"
_MICRO = 1_000_000


def configured_panel(
    judging: JudgingSettings,
    budget: Budget,
    *,
    pace: Pace | None = None,
    batch_folder: Path | None = None,
    keys: Callable[[str], str | None] = resolve_secret,
) -> Panel:
    """The panel of the settings. Raises ConfigError when a key's reference leads nowhere.

    `keys` turns a reference into the key; one that gives none makes a panel that can be looked at but not asked.
    """
    if not uses_live_judges(judging):
        return offline_panel()
    judges = tuple(
        vendor_judge(name, judge, judging, budget, Prompt("judge"), pace=pace, batch_folder=batch_folder, keys=keys)
        for name, judge in sorted(judging.judges.items())
    )
    prompt = Prompt("meta", judging.meta_floor)
    meta = vendor_judge(META, judging.meta, judging, budget, prompt, pace=pace, batch_folder=batch_folder, keys=keys)
    return Panel(judges, meta, meta_shares_maker(judging))


def vendor_judge(
    name: str,
    settings: JudgeSettings,
    judging: JudgingSettings,
    budget: Budget,
    prompt: Prompt,
    *,
    pace: Pace | None = None,
    batch_folder: Path | None = None,
    keys: Callable[[str], str | None] = resolve_secret,
) -> VendorJudge:
    """One live judge. Raises ConfigError when its key cannot be read."""
    wire_format = FORMATS[settings.provider]
    url = (settings.url or wire_format.base_url or "").rstrip("/")
    label = proof_label(settings)
    model = price_of(settings)
    fixed = [
        settings.provider,
        settings.model,
        url,
        prompt.sha256,
        str(settings.temperature),
        settings.max_output_tokens,
        judging.egress,
    ]
    spec = JudgeSpec(
        name=name,
        provider=settings.provider,
        family=maker_of(settings),
        model=settings.model,
        version=sha256(canonical_json(fixed).encode()).hexdigest()[:12],
        live=label is ProofLabel.REAL_COMPONENT,
        prompt_sha256=prompt.sha256,
        proof_label=label,
    )
    connection = Connection(
        url=url,
        host=origin(url)[1],
        key=keys(settings.key) if settings.key else None,
        mode=judging.egress,
        concurrency=judging.concurrency,
        timeout_s=judging.timeout_s,
        pace=pace or Pace(),
        caching=judging.caching,
        batch_poll_s=judging.batch_poll_s,
        batch_folder=batch_folder,
    )
    kind = BatchJudge if judging.batch and settings.provider in BATCHES else VendorJudge
    return kind(
        spec,
        wire_format,
        connection,
        prompt,
        budget,
        model=model,
        max_output_tokens=settings.max_output_tokens,
        temperature=settings.temperature,
    )


def price_of(settings: JudgeSettings) -> Model | None:
    """Own price, else the listed one; a model server of your own costs nothing."""
    if settings.usd_per_million_in is not None and settings.usd_per_million_out is not None:
        return own_price(settings.provider, settings.model, settings.usd_per_million_in, settings.usd_per_million_out)
    if FORMATS[settings.provider].base_url is None:
        return replace(own_price(settings.provider, settings.model, 0.0, 0.0), temperature=True)
    return known_model(settings.provider, settings.model)


def new_budget(judging: JudgingSettings, spent: Amount | None = None) -> Budget:
    """A budget with the limits of the settings, of which `spent` is gone already."""
    limits = Limits(judging.max_requests, judging.max_tokens, int(judging.max_usd * _MICRO))
    budget = Budget(limits, once=False)  # a shorter question may fit where a long one did not
    budget.charge(spent or Amount())
    return budget


_BUDGETS: dict[str, Budget] = {}
_BUDGETS_LOCK = threading.Lock()  # guards _BUDGETS: one budget per execution of a run


def budget_of(run_id: str, judging: JudgingSettings, spent: Callable[[], Amount]) -> Budget:
    """The budget shared by all batches of one execution in this process; `spent` tells what earlier ones spent."""
    with _BUDGETS_LOCK:
        if run_id not in _BUDGETS:
            _BUDGETS[run_id] = new_budget(judging, spent())
        return _BUDGETS[run_id]
