-- One row per control of a catalogue edition.
select
    control_key,
    catalog_sha256,
    run_id,
    framework,
    version,
    control_id,
    parent_key,
    title,
    kind,
    url,
    assessable,
    applies_from,
    applies_from_annex_i,
    recorded_at,
    batch_key,
    row_sha256,
from lake.controls
