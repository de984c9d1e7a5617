-- One row per control of the newest loaded edition of each catalogue.
select
    control_key,
    framework,
    version,
    control_id,
    parent_key,
    title,
    kind,
    assessable,
    applies_from,
    applies_from_annex_i,
    url,
    catalog_sha256,
from stg_controls
qualify row_number() over (partition by control_key order by recorded_at desc, catalog_sha256) = 1
