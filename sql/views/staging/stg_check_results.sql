-- One row per (run, asset, posture check). `unknown` means not read, never a pass.
select
    run_id,
    asset_id,
    check_id,
    outcome,
    severity,
    mode,
    reason,
    cast(evidence as JSON) as evidence,
    proof_label,
    dt,
    recorded_at,
    batch_key,
    row_sha256,
from lake.check_results
