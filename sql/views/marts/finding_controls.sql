-- One row per (finding, control or framework without one): the newest stamp, with grade and rationale.
select
    f.finding_id,
    f.control_key,
    f.framework,
    f.relation,
    f.grade,
    f.rationale,
    f.edge_id,
    c.control_id,
    c.title,
    c.applies_from,
    f.catalog_sha256,
    f.run_id,
    f.stamped_at,
from int_finding_stamps as f
left join stg_controls as c on c.control_key = f.control_key and c.catalog_sha256 = f.catalog_sha256
