-- One row per (finding kind, control): the mapping in force, also for kinds without a finding. relation `none` = not applicable.
select
    finding_kind,
    control_key,
    catalog_sha256,
    run_id,
    framework,
    relation,
    grade,
    edge_id,
    rationale,
    recorded_at,
    batch_key,
    row_sha256,
from lake.kind_controls
