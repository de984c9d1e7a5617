-- One row per (run, target, probe family): attempts by verdict over the runs this run stands on.
-- Bounds are Wilson's 95 % score interval of vulnerable / (vulnerable + resistant) in ppm, lower rounded down, upper up;
-- without a decided attempt nothing is known: 0 to 1,000,000.
with members as (
    select run_id, unnest(members) as member_run_id
    from int_asof
),

counted as (
    select
        m.run_id,
        a.asset_id,
        a.family_id,
        count(*) as attempts,
        count(distinct a.template_sha256) as templates,
        count(distinct a.seed_id) as seeds,
        count(*) filter (a.verdict = 'vulnerable') as vulnerable,
        count(*) filter (a.verdict = 'resistant') as resistant,
        count(*) filter (a.verdict = 'undecided') as undecided,
        count(*) filter (a.verdict = 'error') as error,
        count(*) filter (a.verdict = 'not_applicable') as not_applicable,
        cast(sum(coalesce(a.cost_micro_usd, 0)) as BIGINT) as cost_micro_usd,
    from members as m
    join int_adjudicated as a on a.run_id = m.member_run_id
    group by m.run_id, a.asset_id, a.family_id
),

interval_parts as (
    select
        *,
        vulnerable + resistant as n,
        1.959963984540054e0 as z,
        cast(vulnerable as DOUBLE) / nullif(vulnerable + resistant, 0) as p,
    from counted
),

bounds as (
    select
        *,
        (p + z * z / (2 * n)) / (1 + z * z / n) as centre,
        z * sqrt(p * (1 - p) / n + z * z / (4 * cast(n as DOUBLE) * n)) / (1 + z * z / n) as half,
    from interval_parts
)

select
    run_id,
    asset_id,
    family_id,
    attempts,
    templates,
    seeds,
    vulnerable,
    resistant,
    undecided,
    error,
    not_applicable,
    cost_micro_usd,
    case
        when n = 0 or vulnerable = 0 then 0
        else cast(floor(greatest(centre - half, 0) * 1000000) as BIGINT)
    end as low_ppm,
    case
        when n = 0 or resistant = 0 then 1000000
        else cast(ceil(least(centre + half, 1) * 1000000) as BIGINT)
    end as high_ppm,
from bounds
