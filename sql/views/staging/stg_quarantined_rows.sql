-- One row per rejected row and reason; holds no body.
select
    run_id,
    table_name,
    batch,
    row_key,
    reason,
    body_sha256,
    quarantined_at,
    recorded_at,
    batch_key,
    row_sha256,
from lake.quarantined_rows
