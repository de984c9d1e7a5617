-- One row per reviewed overlap of two controls: one piece of evidence that counts toward both.
select
    o.overlap_id,
    o.theme,
    o.a_key,
    o.b_key,
    cast(o.kinds as VARCHAR[]) as kinds,
    o.grade,
    o.via,
    cast(o.sources as VARCHAR[]) as sources,
    o.catalogs_sha256,
from stg_control_overlaps as o
qualify row_number() over (partition by o.overlap_id order by o.recorded_at desc, o.catalogs_sha256) = 1
