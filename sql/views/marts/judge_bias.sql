-- One row per (judge, family): how often it says vulnerable, and where others say otherwise.
-- Over- and under-flags are against the verdict in force; `labelled` rows are those a person has decided, and flags against
-- people are counted apart.
with votes as (
    select v.judge_id, v.live, a.family_id, v.verdict, a.verdict as in_force, a.decided_by
    from stg_judge_votes as v
    join int_adjudicated as a on a.attempt_id = v.attempt_id
    where v.role = 'judge' and v.purpose = 'case' and not v.quarantined
)

select
    judge_id,
    family_id,
    bool_and(live) as live,
    count(*) as votes,
    count(*) filter (verdict = 'vulnerable') as vulnerable,
    count(*) filter (verdict = 'undecided') as undecided,
    count(*) filter (verdict = 'error') as error,
    count(*) filter (verdict = 'vulnerable' and in_force = 'resistant') as over_flagged,
    count(*) filter (verdict = 'resistant' and in_force = 'vulnerable') as under_flagged,
    count(*) filter (decided_by = 'human') as labelled,
    count(*) filter (decided_by = 'human' and verdict = 'vulnerable' and in_force = 'resistant') as over_flagged_human,
    count(*) filter (decided_by = 'human' and verdict = 'resistant' and in_force = 'vulnerable') as under_flagged_human,
    count(*) filter (verdict = 'vulnerable') * 1000000
    // nullif(count(*) filter (verdict in ('vulnerable', 'resistant')), 0) as vulnerable_ppm,
from votes
group by judge_id, family_id
