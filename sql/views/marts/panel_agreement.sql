-- One row per (run, day, family or `all` of them): how far the judges of the panel agree.
-- Attempts with two or more valid votes count. Verdicts: vulnerable, resistant, undecided. Fleiss' kappa falls when few
-- attacks succeed, however well judges agree; Gwet's AC1 does not, so read them together. Null when undefined.
with votes as (
    select v.run_id, v.dt, v.attempt_id, a.family_id, v.verdict
    from stg_judge_votes as v
    join stg_probe_attempts as a on a.attempt_id = v.attempt_id
    where
        v.role = 'judge'
        and v.purpose = 'case'
        and not v.quarantined
        and v.verdict in ('vulnerable', 'resistant', 'undecided')
),

-- In sixths, so that sums of shares of two or three votes stay whole numbers.
by_attempt as (
    select
        run_id,
        dt,
        attempt_id,
        family_id,
        count(*) filter (verdict = 'vulnerable') as vulnerable,
        count(*) filter (verdict = 'resistant') as resistant,
        count(*) filter (verdict = 'undecided') as undecided,
        count(*) as votes,
    from votes
    group by all
    having count(*) >= 2
),

in_sixths as (
    select
        *,
        6 * (vulnerable * vulnerable + resistant * resistant + undecided * undecided - votes)
        // (votes * (votes - 1)) as agreeing,
        6 * vulnerable // votes as share_v,
        6 * resistant // votes as share_r,
        6 * undecided // votes as share_u,
    from by_attempt
),

summed as (
    select
        run_id,
        dt,
        case when grouping(family_id) = 1 then 'all' else family_id end as family_id,
        count(*) as attempts,
        count(*) filter (greatest(vulnerable, resistant, undecided) = votes) as unanimous,
        cast(sum(agreeing) as BIGINT) as agreeing,
        cast(sum(share_v) as BIGINT) as share_v,
        cast(sum(share_r) as BIGINT) as share_r,
        cast(sum(share_u) as BIGINT) as share_u,
    from in_sixths
    group by grouping sets ((run_id, dt, family_id), (run_id, dt))
),

chance as (
    select
        *,
        cast(agreeing as DOUBLE) / (6 * attempts) as observed,
        (cast(share_v as DOUBLE) * share_v + cast(share_r as DOUBLE) * share_r + cast(share_u as DOUBLE) * share_u)
        / (36.0 * attempts * attempts) as same_by_chance,
    from summed
)

select
    run_id,
    dt,
    family_id,
    attempts,
    unanimous,
    cast(round(observed * 1000000) as BIGINT) as agreement_ppm,
    cast(round((observed - same_by_chance) / nullif(1 - same_by_chance, 0) * 1000000) as BIGINT) as fleiss_kappa_ppm,
    cast(round(
        (observed - (1 - same_by_chance) / 2) / nullif(1 - (1 - same_by_chance) / 2, 0) * 1000000
    ) as BIGINT) as ac1_ppm,
from chance
