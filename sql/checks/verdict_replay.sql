-- Zero rows expected: every verdict decided by judges, rebuilt from its votes by the routing table of
-- tasks/judging/consensus.py, equals the stored one. A row is a verdict that its votes do not explain.
-- Grain of a returned row: one (attempt_id, method_version, run_id).
with

votes as (
    select * from lake.judge_votes
),

verdicts as (
    select * from lake.verdicts
),

keep_first_readings as (
    select
        run_id,
        attempt_id,
        judge_id,
        role,
        live,
        confidence_ppm,
        case when error_kind is null and verdict in ('vulnerable', 'resistant', 'undecided') then verdict end as said,
    from votes
    where repeat = 0
),

count_judges as (
    select
        run_id,
        attempt_id,
        count(said) as valid,
        count(*) filter (where said = 'vulnerable') as vulnerable,
        count(*) filter (where said = 'resistant') as resistant,
        count(*) filter (where said = 'undecided') as undecided,
        string_agg(coalesce(upper(said[1]), 'E'), '' order by judge_id) as pattern,
    from keep_first_readings
    where role = 'judge'
    group by all
),

take_meta as (
    select
        run_id,
        attempt_id,
        max(said) as said,
        max(case when said is not null then confidence_ppm end) as confidence_ppm,
    from keep_first_readings
    where role = 'meta'
    group by all
),

take_label as (
    select
        run_id,
        attempt_id,
        case when bool_and(live) then 'live judges' else 'offline judges' end as judges_label,
    from keep_first_readings
    group by all
),

put_together as (
    select
        verdicts.*,
        count_judges.pattern as replayed_pattern,
        coalesce(count_judges.valid, 0) as valid,
        count_judges.undecided as abstained,
        greatest(count_judges.vulnerable, count_judges.resistant) as lead,
        case when count_judges.vulnerable >= 2 then 'vulnerable' when count_judges.resistant >= 2 then 'resistant' end
            as leader,
        take_meta.said as meta_said,
        coalesce(take_meta.confidence_ppm, 0) as replayed_confidence_ppm,
        coalesce(take_label.judges_label, 'no judges') as replayed_label,
        try_cast(nullif(regexp_extract(verdicts.method_version, 'floor=([0-9]+)', 1), '') as integer) as floor_ppm,
    from verdicts
    left join count_judges using (run_id, attempt_id)
    left join take_meta using (run_id, attempt_id)
    left join take_label using (run_id, attempt_id)
    where verdicts.decided_by = 'judges'
),

name_shape as (
    select
        *,
        case when valid = 3 and lead = 3 then 'unanimous' when valid = 3 then 'majority' else 'two_agree' end as shape,
    from put_together
),

replay as (
    select
        *,
        case
            when valid <= 1 then 'judges_unavailable'
            when abstained >= 2 then 'judges_abstained'
            when leader is null then 'judges_disagree'
            when meta_said is null then shape || '_meta_missing'
            when meta_said <> leader then shape || '_meta_differs'
            when replayed_confidence_ppm < floor_ppm then shape || '_below_floor'
            else shape
        end as replayed_reason,
    from name_shape
),

route as (
    select
        *,
        case
            when replayed_reason = 'judges_unavailable' then 'error'
            when replayed_reason in ('unanimous', 'majority', 'two_agree') then 'automatic'
            else 'review'
        end as replayed_route,
    from replay
),

compare as (
    select
        attempt_id,
        method_version,
        run_id,
        verdict,
        case replayed_route when 'automatic' then leader when 'review' then 'undecided' else 'error' end
            as replayed_verdict,
        route,
        replayed_route,
        reason,
        replayed_reason,
        pattern,
        replayed_pattern,
        confidence_ppm,
        replayed_confidence_ppm,
        judges_label,
        replayed_label,
        floor_ppm,
    from route
)

select *
from compare
where
    verdict is distinct from replayed_verdict
    or route is distinct from replayed_route
    or reason is distinct from replayed_reason
    or pattern is distinct from replayed_pattern
    or confidence_ppm is distinct from replayed_confidence_ppm
    or judges_label is distinct from replayed_label
    or floor_ppm is null
order by attempt_id, method_version, run_id
