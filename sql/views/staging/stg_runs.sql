-- One row per state a run went through. Current state = highest seq.
select
    run_id,
    seq,
    flow,
    campaign_id,
    state,
    entered_at,
    code_version,
    params_sha256,
    demo,
    judges_label,
    cast(detail as JSON) as detail,
    recorded_at,
    batch_key,
    row_sha256,
from lake.runs
