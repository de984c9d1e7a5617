-- One row per asset, as it is now: declaration, presence, when it was seen, and the outcomes of its newest checks.
with newest as (
    select *
    from stg_asset_versions
    qualify row_number() over (partition by asset_id order by valid_from desc, recorded_at desc) = 1
),

versions as (
    select
        asset_id,
        count(*) as versions,
        min(valid_from) as first_version_at,
        max(valid_from) filter (state = 'present') as last_present_at,
    from stg_asset_versions
    group by asset_id
),

sightings as (
    select
        asset_id,
        count(*) as observations,
        min(observed_at) as first_observed_at,
        max(observed_at) as last_observed_at,
    from stg_observations
    group by asset_id
),

checked as (
    select c.asset_id, c.run_id, c.outcome, c.severity, r.as_of
    from int_asof_checks as c
    join int_asof as r on r.run_id = c.run_id
    qualify dense_rank() over (partition by c.asset_id order by r.as_of desc, c.run_id desc) = 1
),

outcomes as (
    select
        asset_id,
        any_value(run_id) as checked_in,
        any_value(as_of) as checked_at,
        count(*) filter (outcome = 'pass') as pass,
        count(*) filter (outcome = 'fail') as fail,
        count(*) filter (outcome = 'unknown') as unknown,
        count(*) filter (outcome = 'not_applicable') as not_applicable,
    from checked
    group by asset_id
)

select
    n.asset_id,
    n.kind,
    n.name,
    n.state,
    n.owner,
    n.env,
    n.exposure,
    n.risk_tier,
    n.declared,
    n.active,
    n.props ->> '$.data_sensitivity' as sensitivity,
    cast(n.sources as VARCHAR[]) as sources,
    n.proof_label,
    least(v.first_version_at, s.first_observed_at) as first_seen,
    greatest(v.last_present_at, s.last_observed_at) as last_seen,
    v.versions,
    coalesce(s.observations, 0) as observations,
    n.config_hash,
    n.props,
    o.checked_in,
    o.checked_at,
    coalesce(o.pass, 0) as pass,
    coalesce(o.fail, 0) as fail,
    coalesce(o.unknown, 0) as unknown,
    coalesce(o.not_applicable, 0) as not_applicable,
    n.props ->> '$.inventory_id' as inventory_id,
from newest as n
join versions as v on v.asset_id = n.asset_id
left join sightings as s on s.asset_id = n.asset_id
left join outcomes as o on o.asset_id = n.asset_id
