-- One row per (run, asset known by then): the asset's version in force when the run ended.
with versions as (
    -- The key holds one version per moment; should two slip in, the one recorded later stands.
    select *
    from stg_asset_versions
    qualify row_number() over (partition by asset_id, valid_from order by recorded_at desc, config_hash) = 1
),

pairs as (
    select r.run_id, r.reads_until, v.asset_id
    from int_asof as r
    cross join (select distinct asset_id from versions) as v
)

select
    p.run_id,
    v.* exclude (run_id),
    v.run_id as version_run_id,
    v.props ->> '$.data_sensitivity' as sensitivity,
from pairs as p
asof join versions as v on v.asset_id = p.asset_id and p.reads_until >= v.valid_from
