-- One row per (run, pair of judges): attempts both decided, how often they agreed, and agreement beyond chance.
-- ac1_ppm is Gwet's AC1, steadier than Cohen's kappa when few attacks succeed; both in ppm, null when undefined.
with votes as (
    select run_id, attempt_id, judge_id, live, verdict
    from stg_judge_votes
    where role = 'judge' and purpose = 'case' and not quarantined and verdict in ('vulnerable', 'resistant')
    qualify row_number() over (
        partition by run_id, attempt_id, judge_id order by judge_version desc, repeat desc
    ) = 1
),

pairs as (
    select
        a.run_id,
        a.judge_id as judge_a,
        b.judge_id as judge_b,
        bool_and(a.live and b.live) as live,
        count(*) as both_decided,
        count(*) filter (a.verdict = b.verdict) as agreed,
        count(*) filter (a.verdict = 'vulnerable') as vulnerable_a,
        count(*) filter (b.verdict = 'vulnerable') as vulnerable_b,
    from votes as a
    join votes as b on b.run_id = a.run_id and b.attempt_id = a.attempt_id and a.judge_id < b.judge_id
    group by all
),

chance as (
    select
        *,
        cast(agreed as DOUBLE) / both_decided as observed,
        cast(vulnerable_a as DOUBLE) / both_decided as rate_a,
        cast(vulnerable_b as DOUBLE) / both_decided as rate_b,
        (cast(vulnerable_a as DOUBLE) + vulnerable_b) / (2 * both_decided) as mean_rate,
    from pairs
)

select
    run_id,
    judge_a,
    judge_b,
    live,
    both_decided,
    agreed,
    vulnerable_a,
    vulnerable_b,
    agreed * 1000000 // both_decided as agreement_ppm,
    cast(round(
        (observed - 2 * mean_rate * (1 - mean_rate)) / nullif(1 - 2 * mean_rate * (1 - mean_rate), 0) * 1000000
    ) as BIGINT) as ac1_ppm,
    cast(round(
        (observed - rate_a * rate_b - (1 - rate_a) * (1 - rate_b))
        / nullif(1 - rate_a * rate_b - (1 - rate_a) * (1 - rate_b), 0) * 1000000
    ) as BIGINT) as kappa_ppm,
from chance
