-- One row per run: its score, coverage, grade and active findings by severity.
-- The score is the mean over scored assets, rounded down; the grade is read off score_worst (90 A, 75 B, 60 C, 40 D),
-- is at best D with a critical failure, and is withheld when less than 60 % of the check results were read.
-- An active finding is any that is neither fixed nor a false positive; accepted ones count and are also counted apart.
with scored as (
    select
        run_id,
        count(*) as assets_scored,
        cast(sum(score_best) // count(*) as BIGINT) as score_best,
        cast(sum(score_worst) // count(*) as BIGINT) as score_worst,
        cast(sum(score_best_without_accepted) // count(*) as BIGINT) as score_best_without_accepted,
        cast(sum(pass) as BIGINT) as pass,
        cast(sum(fail) as BIGINT) as fail,
        cast(sum(unknown) as BIGINT) as unknown,
        cast(sum(not_applicable) as BIGINT) as not_applicable,
        cast(sum(critical_failures) as BIGINT) as critical_failures,
    from int_scores_reached
    group by run_id
),

found as (
    select
        run_id,
        count(*) as active_findings,
        count(*) filter (severity = 'critical') as critical,
        count(*) filter (severity = 'high') as high,
        count(*) filter (severity = 'medium') as medium,
        count(*) filter (severity = 'low') as low,
        count(*) filter (severity = 'info') as info,
        count(*) filter (state = 'accepted') as accepted,
    from int_asof_findings
    where state not in ('fixed', 'false_positive')
    group by run_id
),

probed as (
    select
        run_id,
        cast(sum(attempts) as BIGINT) as attempts,
        cast(sum(vulnerable) as BIGINT) as vulnerable,
        cast(sum(resistant) as BIGINT) as resistant,
        cast(sum(undecided) as BIGINT) as undecided,
        cast(sum(error) as BIGINT) as error,
        cast(sum(not_applicable) as BIGINT) as attempts_not_applicable,
    from int_asof_families
    group by run_id
),

present as (
    select run_id, count(*) as assets
    from int_asof_assets
    where state = 'present'
    group by run_id
),

joined as (
    select
        r.run_id,
        r.flow,
        r.state,
        r.demo,
        r.started_at,
        r.as_of,
        r.previous_run_id,
        coalesce(p.assets, 0) as assets,
        coalesce(s.assets_scored, 0) as assets_scored,
        s.score_best,
        s.score_worst,
        s.score_best_without_accepted,
        coalesce(s.pass, 0) as pass,
        coalesce(s.fail, 0) as fail,
        coalesce(s.unknown, 0) as unknown,
        coalesce(s.not_applicable, 0) as not_applicable,
        coalesce(s.critical_failures, 0) as critical_failures,
        cast(
            (s.pass + s.fail) * 1000000 // nullif(s.pass + s.fail + s.unknown, 0) as BIGINT
        ) as coverage_ppm,
        coalesce(f.active_findings, 0) as active_findings,
        coalesce(f.critical, 0) as critical,
        coalesce(f.high, 0) as high,
        coalesce(f.medium, 0) as medium,
        coalesce(f.low, 0) as low,
        coalesce(f.info, 0) as info,
        coalesce(f.accepted, 0) as accepted,
        coalesce(a.attempts, 0) as attempts,
        coalesce(a.vulnerable, 0) as vulnerable,
        coalesce(a.resistant, 0) as resistant,
        coalesce(a.undecided, 0) as undecided,
        coalesce(a.error, 0) as error,
        coalesce(a.attempts_not_applicable, 0) as attempts_not_applicable,
    from int_asof as r
    left join scored as s on s.run_id = r.run_id
    left join found as f on f.run_id = r.run_id
    left join probed as a on a.run_id = r.run_id
    left join present as p on p.run_id = r.run_id
)

select
    *,
    case
        when coverage_ppm is null or coverage_ppm < 600000 then null
        when score_worst < 40 then 'E'
        when score_worst < 60 or critical_failures > 0 or critical > 0 then 'D'
        when score_worst < 75 then 'C'
        when score_worst < 90 then 'B'
        else 'A'
    end as grade,
from joined
