-- One row per (attempt, method): the final verdict and how it came about.
select
    attempt_id,
    method_version,
    run_id,
    verdict,
    decided_by,
    pattern,
    confidence_ppm,
    judges_label,
    route,
    reason,
    decided_at,
    dt,
    recorded_at,
    batch_key,
    row_sha256,
from lake.verdicts
