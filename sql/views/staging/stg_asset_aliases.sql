-- One row per (alias, asset): an id that older evidence may carry.
select
    alias,
    asset_id,
    run_id,
    state,
    reason,
    recorded_at,
    batch_key,
    row_sha256,
from lake.asset_aliases
