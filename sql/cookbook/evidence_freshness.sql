-- Question: When was each present asset last looked at, and how many of its checks were read?
-- Tables: assets, runs
-- Example:
--   kind | name | last_seen | checked_at | days_since_check | read | unknown
--   agent | Payments clerk | 2026-01-03 02:01:00+00:00 | 2026-01-03 02:10:00+00:00 | 0 | 1 | 0
--   ai_application | Customer portal | 2026-01-03 02:01:00+00:00 | 2026-01-03 02:10:00+00:00 | 0 | 1 | 0
--   llm_endpoint | Support assistant | 2026-01-03 02:01:00+00:00 | 2026-01-03 02:10:00+00:00 | 0 | 2 | 1
--   … 1 more
with latest as (select max(as_of) as as_of from runs)

select
    a.kind,
    a.name,
    a.last_seen,
    a.checked_at,
    date_sub('day', a.checked_at, l.as_of) as days_since_check,
    a.pass + a.fail as read,
    a.unknown,
from assets as a
cross join latest as l
where a.state = 'present'
order by days_since_check desc nulls first, a.kind, a.name
