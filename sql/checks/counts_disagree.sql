-- Zero rows expected: every attempt, check result and active finding is counted exactly once in the summaries.
select 'family_results' as what, run_id, asset_id || ' ' || family_id as subject
from int_asof_families
where attempts <> vulnerable + resistant + undecided + error + not_applicable

union all

select 'attempts' as what, r.run_id, '' as subject
from int_summary as r
where
    r.attempts <> (
        select count(*)
        from int_asof as o
        join stg_probe_attempts as a on list_contains(o.members, a.run_id)
        where o.run_id = r.run_id
    )

union all

select 'findings' as what, r.run_id, '' as subject
from int_summary as r
where r.active_findings <> r.critical + r.high + r.medium + r.low + r.info

union all

select 'check_results' as what, r.run_id, '' as subject
from int_summary as r
where
    r.pass + r.fail + r.unknown + r.not_applicable
    <> (select count(*) from int_asof_checks as c where c.run_id = r.run_id)
