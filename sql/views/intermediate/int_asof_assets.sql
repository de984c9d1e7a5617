-- One row per (run, asset known by then): the asset's version in force when the run ended.
select
    r.run_id,
    v.* exclude (run_id),
    v.run_id as version_run_id,
    v.props ->> '$.data_sensitivity' as sensitivity,
from int_asof as r
join stg_asset_versions as v on v.valid_from <= r.as_of or v.run_id = r.run_id
qualify row_number() over (partition by r.run_id, v.asset_id order by v.valid_from desc, v.recorded_at desc) = 1
