-- One row per reviewed overlap of two controls of different frameworks.
select
    overlap_id,
    run_id,
    catalogs_sha256,
    theme,
    a_key,
    b_key,
    cast(kinds as JSON) as kinds,
    grade,
    via,
    cast(sources as JSON) as sources,
    recorded_at,
    batch_key,
    row_sha256,
from lake.control_overlaps
