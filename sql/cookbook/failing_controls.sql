-- Question: Which controls fail in the newest finished run, and how many findings count toward each?
-- Tables: control_states, runs
-- Example:
--   control_key | title | findings | reason
--   eu-ai-act@2026-07-27:Art.15(5) | Title of Art.15(5) | 2 | 2 open findings
--   mitre-atlas@2026.09:AML.T0051.000 | Title of AML.T0051.000 | 2 | 2 open findings
--   nist-ai-600-1@2024-07:MS-2.7-007 | Title of MS-2.7-007 | 2 | 2 open findings
--   … 3 more
with newest as (
    select run_id, previous_run_id
    from runs
    where state in ('complete', 'incomplete')
    qualify row_number() over (order by started_at desc, run_id desc) = 1
)

select c.control_key, c.title, c.findings, c.reason
from newest as n
join control_states as c on c.run_id = n.run_id
where c.state = 'tested_failing'
order by c.findings desc, c.control_key
