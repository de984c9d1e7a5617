-- One row per (judge, run): its share of vulnerable, and whether that has moved since its first run.
-- Two cumulative sums (CUSUM, Page 1954) of the distance from the judge's first run, in standard deviations with an
-- allowance of 0.5; above 5 the share has moved. Targets and probes move it too: drift of one judge and not of the others
-- is the judge's.
with by_run as (
    select
        judge_id,
        run_id,
        bool_and(live) as live,
        count(*) filter (verdict in ('vulnerable', 'resistant')) as decided,
        count(*) filter (verdict = 'vulnerable') as vulnerable,
    from stg_judge_votes
    where role = 'judge' and purpose = 'case' and not quarantined
    group by judge_id, run_id
),

with_reference as (
    select
        *,
        first_value(vulnerable) over first_run as reference_vulnerable,
        first_value(decided) over first_run as reference_decided,
    from by_run
    where decided > 0
    window first_run as (partition by judge_id order by run_id)
),

-- The reference rate is drawn a little towards one half, so that a first run of one kind leaves a deviation to measure in.
standardised as (
    select
        *,
        (vulnerable - decided * (reference_vulnerable + 1.0) / (reference_decided + 2.0))
        / sqrt(
            decided * ((reference_vulnerable + 1.0) / (reference_decided + 2.0))
            * (1 - (reference_vulnerable + 1.0) / (reference_decided + 2.0))
        ) as z,
    from with_reference
),

summed as (
    select
        *,
        sum(z - 0.5) over so_far as up_total,
        sum(-z - 0.5) over so_far as down_total,
    from standardised
    window so_far as (partition by judge_id order by run_id rows unbounded preceding)
),

-- S(t) = max(0, S(t-1) + x(t)) is the running total less its least value so far, zero included.
restarted as (
    select
        *,
        up_total - least(0, min(up_total) over so_far) as up,
        down_total - least(0, min(down_total) over so_far) as down,
    from summed
    window so_far as (partition by judge_id order by run_id rows unbounded preceding)
)

select
    judge_id,
    run_id,
    live,
    decided,
    vulnerable,
    vulnerable * 1000000 // decided as vulnerable_ppm,
    cast(round(up * 1000000) as BIGINT) as cusum_up_ppm,
    cast(round(down * 1000000) as BIGINT) as cusum_down_ppm,
    greatest(up, down) > 5 as drifted,
from restarted
