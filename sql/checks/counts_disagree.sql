-- Zero rows expected: every attempt, check result and active finding is counted exactly once in the summaries.
with summary as materialized (
    select *
    from int_summary
),

members as (
    select run_id, unnest(members) as member_run_id
    from int_asof
),

attempts as (
    select m.run_id, count(*) as attempts
    from members as m
    join stg_probe_attempts as a on a.run_id = m.member_run_id
    group by m.run_id
),

results as (
    select run_id, count(*) as results
    from int_asof_checks
    group by run_id
),

compared as (
    select
        s.run_id,
        s.attempts = s.vulnerable + s.resistant + s.undecided + s.error + s.attempts_not_applicable as verdicts_add_up,
        s.attempts = coalesce(a.attempts, 0) as attempts_agree,
        s.active_findings = s.critical + s.high + s.medium + s.low + s.info as severities_add_up,
        s.pass + s.fail + s.unknown + s.not_applicable = coalesce(r.results, 0) as results_agree,
    from summary as s
    left join attempts as a on a.run_id = s.run_id
    left join results as r on r.run_id = s.run_id
)

select *
from compared
where not (verdicts_add_up and attempts_agree and severities_add_up and results_agree)
