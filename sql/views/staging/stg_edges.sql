-- One row per relationship and run in which it was seen.
select
    src_id,
    dst_id,
    rel,
    run_id,
    source,
    valid_from,
    recorded_at,
    batch_key,
    row_sha256,
from lake.edges
