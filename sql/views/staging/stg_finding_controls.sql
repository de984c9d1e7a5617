-- One row per (finding, control, run): the stamp of the mapping at the time. relation `none` = explicitly not applicable.
select
    finding_id,
    control_key,
    catalog_sha256,
    run_id,
    framework,
    relation,
    grade,
    edge_id,
    rationale,
    stamped_at,
    recorded_at,
    batch_key,
    row_sha256,
from lake.finding_controls
