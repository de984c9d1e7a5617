-- One row per gateway policy bundle that a run saw in force.
select
    bundle_sha256,
    run_id,
    version,
    issued,
    expires,
    key_id,
    cast(summary as JSON) as summary,
    recorded_at,
    batch_key,
    row_sha256,
from lake.policies
