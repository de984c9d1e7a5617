-- One row per completed or incomplete run, oldest first within its flow: the figures that make a trend line.
select
    flow,
    demo,
    run_id,
    as_of,
    row_number() over (partition by flow, demo order by started_at, run_id) as position,
    score_best,
    score_worst,
    coverage_ppm,
    critical,
    high,
    medium,
    low,
    info,
    attempts,
    vulnerable,
    error,
    previous_run_id,
from int_summary
where state in ('complete', 'incomplete')
