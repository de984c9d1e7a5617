-- Zero rows expected: every verdict decided by judges, rebuilt from its votes, its calibration and the policy named in its
-- method, by the routing table of tasks/judging/consensus.py, equals the stored one; and a human verdict equals a decision
-- in `reviews`. A row is a verdict that its votes do not explain. That a row was held for a human (reason `…_held`) is
-- taken from the verdict: it can only have been automatic otherwise.
-- Grain of a returned row: one (attempt_id, method_version, run_id).
with

votes as (
    select * from lake.judge_votes
),

verdicts as (
    select * from lake.verdicts
),

reviews as (
    select * from lake.reviews
),

read_calibrations as (
    select distinct
        sha256 as calibration_sha256,
        cast(json_extract(detail, '$.lambda_ppm') as integer) as lambda_ppm,
        cast(json_extract(detail, '$.p_ppm') as map(varchar, integer)) as table_ppm,
    from lake.evidence
    where kind = 'calibration'
),

keep_deciding_votes as (
    select
        run_id,
        attempt_id,
        judge_id,
        role,
        live,
        confidence_ppm,
        coalesce(quarantined, false) as quarantined,
        case
            when error_kind is null and not coalesce(quarantined, false)
                and verdict in ('vulnerable', 'resistant', 'undecided')
                then verdict
        end as said,
    from votes
    where coalesce(purpose, 'case') = 'case'
),

count_judges as (
    select
        run_id,
        attempt_id,
        count(said) as valid,
        count(*) filter (where said = 'vulnerable') as vulnerable,
        count(*) filter (where said = 'resistant') as resistant,
        count(*) filter (where said = 'undecided') as undecided,
        min(case when said is not null then confidence_ppm end) as least_stated_ppm,
        string_agg(
            case when quarantined then 'Q' else coalesce(upper(said[1]), 'E') end, '' order by judge_id
        ) as pattern,
        coalesce(
            string_agg(judge_id || '=' || upper(said[1]), ' ' order by judge_id) filter (where said is not null), ''
        ) as named_pattern,
    from keep_deciding_votes
    where role = 'judge'
    group by all
),

take_meta as (
    select
        run_id,
        attempt_id,
        count(*) as asked,
        max(said) as said,
        max(case when said is not null then confidence_ppm end) as confidence_ppm,
    from keep_deciding_votes
    where role = 'meta'
    group by all
),

take_label as (
    select
        run_id,
        attempt_id,
        case when bool_and(live) then 'live judges' else 'offline judges' end as judges_label,
    from votes
    group by all
),

put_together as (
    select
        verdicts.*,
        coalesce(count_judges.pattern, '') as replayed_pattern,
        coalesce(count_judges.valid, 0) as valid,
        coalesce(count_judges.undecided, 0) as abstained,
        count_judges.least_stated_ppm,
        greatest(count_judges.vulnerable, count_judges.resistant) as lead,
        case when count_judges.vulnerable >= 2 then 'vulnerable' when count_judges.resistant >= 2 then 'resistant' end
            as leader,
        coalesce(take_meta.asked, 0) as meta_asked,
        take_meta.said as meta_said,
        coalesce(take_meta.confidence_ppm, 0) as meta_confidence_ppm,
        coalesce(take_label.judges_label, 'no judges') as replayed_label,
        try_cast(nullif(regexp_extract(verdicts.method_version, 'floor=([0-9]+)', 1), '') as integer) as floor_ppm,
        regexp_extract(verdicts.method_version, 'meta=([a-z]+)', 1) as meta_when,
        read_calibrations.lambda_ppm as replayed_lambda_ppm,
        case
            when read_calibrations.calibration_sha256 is not null and count_judges.pattern is not null
                then coalesce(read_calibrations.table_ppm[count_judges.named_pattern], 500000)
        end as replayed_p_ppm,
        ends_with(verdicts.reason, '_held') as held,
    from verdicts
    left join count_judges using (run_id, attempt_id)
    left join take_meta using (run_id, attempt_id)
    left join take_label using (run_id, attempt_id)
    left join read_calibrations using (calibration_sha256)
    where verdicts.decided_by = 'judges'
),

name_shape as (
    select
        *,
        meta_when = 'disagreement' and meta_asked = 0 and valid = 3 and lead = 3 as panel_alone,
        case when valid = 3 and lead = 3 then 'unanimous' when valid = 3 then 'majority' else 'two_agree' end as shape,
    from put_together
),

take_confidence as (
    select
        * replace (case when panel_alone then 'unanimous_panel' else shape end as shape),
        case when panel_alone then leader else meta_said end as confirmed,
        case
            when not panel_alone then meta_confidence_ppm
            when replayed_p_ppm is not null then greatest(replayed_p_ppm, 1000000 - replayed_p_ppm)
            else least_stated_ppm
        end as replayed_confidence_ppm,
    from name_shape
),

replay as (
    select
        *,
        case
            when valid <= 1 then 'judges_unavailable'
            when abstained >= 2 then 'judges_abstained'
            when leader is null then 'judges_disagree'
            when confirmed is null then shape || '_meta_missing'
            when confirmed <> leader then shape || '_meta_differs'
            when replayed_confidence_ppm < floor_ppm then shape || '_below_floor'
            when (replayed_p_ppm >= 500000) <> (leader = 'vulnerable') then shape || '_calibration_contradicts'
            when greatest(replayed_p_ppm, 1000000 - replayed_p_ppm) < replayed_lambda_ppm
                then shape || '_below_calibrated'
            when held then shape || '_held'
            else shape
        end as replayed_reason,
    from take_confidence
),

route as (
    select
        *,
        case
            when replayed_reason = 'judges_unavailable' then 'error'
            when replayed_reason in ('unanimous', 'unanimous_panel', 'majority', 'two_agree') then 'automatic'
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
        p_ppm,
        replayed_p_ppm,
        lambda_ppm,
        replayed_lambda_ppm,
        floor_ppm,
    from route
),

judged_otherwise as (
    select *
    from compare
    where
        verdict is distinct from replayed_verdict
        or route is distinct from replayed_route
        or reason is distinct from replayed_reason
        or pattern is distinct from replayed_pattern
        or confidence_ppm is distinct from replayed_confidence_ppm
        or judges_label is distinct from replayed_label
        or p_ppm is distinct from replayed_p_ppm
        or lambda_ppm is distinct from replayed_lambda_ppm
        or floor_ppm is null
),

labelled_otherwise as (
    select v.attempt_id, v.method_version, v.run_id, v.verdict, r.label as replayed_verdict
    from verdicts as v
    left join reviews as r
        on r.attempt_id = v.attempt_id and v.method_version = 'human/1 review=' || r.review_id and r.label is not null
    where v.decided_by = 'human' and v.verdict is distinct from r.label
)

select *
from judged_otherwise
union all by name
select *
from labelled_otherwise
order by attempt_id, method_version, run_id
