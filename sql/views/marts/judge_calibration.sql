-- One row per judge, the meta-judge included: how far its stated confidence can be believed.
-- Over attempts that a person has labelled. p = confidence when it says vulnerable, else one minus it; brier_ppm = mean
-- (p - truth)^2, ece_ppm = expected calibration error over ten bins; 0 is best for both. Abstentions are left out.
with rows_labelled as (
    select
        v.judge_id,
        v.role,
        v.live,
        case v.verdict when 'vulnerable' then v.confidence_ppm else 1000000 - v.confidence_ppm end as p_ppm,
        case a.verdict when 'vulnerable' then 1000000 else 0 end as truth_ppm,
        v.verdict = a.verdict as agrees,
    from stg_judge_votes as v
    join int_adjudicated as a on a.attempt_id = v.attempt_id and a.decided_by = 'human'
    where v.purpose = 'case' and not v.quarantined and v.verdict in ('vulnerable', 'resistant')
),

binned as (
    select
        judge_id,
        role,
        least(p_ppm // 100000, 9) as bin,
        bool_and(live) as live,
        count(*) as labelled,
        count(*) filter (agrees) as agreed,
        cast(sum((cast(p_ppm as HUGEINT) - truth_ppm) * (p_ppm - truth_ppm)) as HUGEINT) as squares,
        abs(cast(sum(p_ppm) as BIGINT) - cast(sum(truth_ppm) as BIGINT)) as distance,
    from rows_labelled
    group by judge_id, role, bin
)

select
    judge_id,
    role,
    bool_and(live) as live,
    cast(sum(labelled) as BIGINT) as labelled,
    cast(sum(agreed) as BIGINT) as agreed,
    cast(sum(squares) // (sum(labelled) * 1000000) as BIGINT) as brier_ppm,
    cast(sum(distance) // sum(labelled) as BIGINT) as ece_ppm,
from binned
group by judge_id, role
