-- Question: How did each control change its state from run to run?
-- Tables: control_states, runs
-- Example:
--   control_key | state_before | state | run_id | as_of
--   owasp-asi@2026:ASI02 | not_tested | tested_failing | 20260103T020000Z-cccc | 2026-01-03 02:10:00+00:00
--   owasp-llm@2025:LLM07 | tested_failing | tested_clean | 20260103T020000Z-cccc | 2026-01-03 02:10:00+00:00
with finished as (
    select c.control_key, c.state, r.run_id, r.as_of, r.started_at, r.flow
    from control_states as c
    join runs as r on r.run_id = c.run_id and r.state in ('complete', 'incomplete')
),

compared as (
    select *, lag(state) over (partition by flow, control_key order by started_at, run_id) as state_before
    from finished
)

select control_key, state_before, state, run_id, as_of
from compared
where state_before <> state
order by as_of, control_key
