-- One row per (run, asset known by then): the version in force when the run ended, and its check outcomes in that run.
with outcomes as (
    select
        run_id,
        asset_id,
        count(*) filter (outcome = 'pass') as pass,
        count(*) filter (outcome = 'fail') as fail,
        count(*) filter (outcome = 'unknown') as unknown,
        count(*) filter (outcome = 'not_applicable') as not_applicable,
    from int_asof_checks
    group by run_id, asset_id
)

select
    a.run_id,
    a.asset_id,
    a.kind,
    a.name,
    a.state,
    a.owner,
    a.env,
    a.exposure,
    a.risk_tier,
    a.declared,
    a.active,
    a.sensitivity,
    cast(a.sources as VARCHAR[]) as sources,
    a.proof_label,
    a.valid_from,
    a.config_hash,
    coalesce(o.pass, 0) as pass,
    coalesce(o.fail, 0) as fail,
    coalesce(o.unknown, 0) as unknown,
    coalesce(o.not_applicable, 0) as not_applicable,
from int_asof_assets as a
left join outcomes as o on o.run_id = a.run_id and o.asset_id = a.asset_id
