-- One row per (run with posture checks, asset with a check result or an active probe finding): 0 (worst) to 100.
-- Penalty = severity points x 1.5 when reachable from the internet x 1.3 when it holds personal data, kept in
-- hundredths of a point. Sums are capped per severity: high 60, medium 30, low 10 points; critical is never capped.
-- score_best counts failures; score_worst counts what could not be read as failed too. Both are rounded down.
-- Active findings of probes count as failures; one that waits for a reviewer counts as unread. Accepted findings
-- still count; `score_best_without_accepted` omits them.
with severities (severity, points, cap) as (
    values ('critical', 2500, 1000000), ('high', 1000, 6000), ('medium', 300, 3000), ('low', 100, 1000), ('info', 0, 0)
),

accepted as (
    select run_id, asset_id, rule_id, finding_kind
    from int_asof_findings
    where state = 'accepted'
),

items as (
    select c.run_id, c.asset_id, c.severity, c.outcome, a.rule_id is not null as is_accepted
    from int_asof_checks as c
    left join accepted as a
        on a.run_id = c.run_id and a.asset_id = c.asset_id and a.finding_kind = 'check.' || c.check_id

    union all

    select
        run_id,
        asset_id,
        severity,
        case state when 'in_review' then 'probe_in_review' else 'probe' end as outcome,
        state = 'accepted' as is_accepted,
    from int_asof_findings
    where
        starts_with(finding_kind, 'probe.')
        and state not in ('fixed', 'false_positive')
        and run_id in (select run_id from int_asof_checks)
),

weighted as (
    select
        i.run_id,
        i.asset_id,
        i.severity,
        i.outcome,
        i.is_accepted,
        s.points
        * case when v.exposure = 'internet' then 15 else 10 end
        * case when v.sensitivity = 'pii' then 13 else 10 end // 100 as penalty,
        s.cap,
    from items as i
    join severities as s on s.severity = i.severity
    left join int_asof_assets as v on v.run_id = i.run_id and v.asset_id = i.asset_id
),

by_severity as (
    select
        run_id,
        asset_id,
        severity,
        count(*) filter (outcome = 'pass') as pass,
        count(*) filter (outcome = 'fail') as fail,
        count(*) filter (outcome = 'unknown') as unknown,
        count(*) filter (outcome = 'not_applicable') as not_applicable,
        count(*) filter (outcome in ('probe', 'probe_in_review')) as probe_findings,
        count(*) filter (outcome in ('fail', 'probe') and severity = 'critical') as critical_failures,
        least(coalesce(sum(penalty) filter (outcome in ('fail', 'probe')), 0), any_value(cap)) as failed_points,
        least(
            coalesce(sum(penalty) filter (outcome in ('fail', 'probe') and not is_accepted), 0), any_value(cap)
        ) as failed_points_open,
        least(
            coalesce(sum(penalty) filter (outcome in ('unknown', 'probe_in_review')), 0), any_value(cap)
        ) as unknown_points,
    from weighted
    group by run_id, asset_id, severity
)

select
    run_id,
    asset_id,
    cast(sum(pass) as BIGINT) as pass,
    cast(sum(fail) as BIGINT) as fail,
    cast(sum(unknown) as BIGINT) as unknown,
    cast(sum(not_applicable) as BIGINT) as not_applicable,
    cast(sum(probe_findings) as BIGINT) as probe_findings,
    cast(sum(critical_failures) as BIGINT) as critical_failures,
    cast(greatest(0, 10000 - sum(failed_points)) // 100 as BIGINT) as score_best,
    cast(greatest(0, 10000 - sum(failed_points) - sum(unknown_points)) // 100 as BIGINT) as score_worst,
    cast(greatest(0, 10000 - sum(failed_points_open)) // 100 as BIGINT) as score_best_without_accepted,
    cast(
        sum(pass + fail) * 1000000 // nullif(sum(pass + fail + unknown), 0) as BIGINT
    ) as coverage_ppm,
from by_severity
group by run_id, asset_id
