-- Question: Which agents send data that leak prevention stops or redacts?
-- Tables: gateway_events
-- Example:
--   agent_id | reason_code | redacted | blocked | first_at | last_at
--   clerk | DLP.PII.EMAIL | 1 | 0 | 2026-01-03 02:03:03+00:00 | 2026-01-03 02:03:03+00:00
--   clerk | DLP.SECRET.AWS_ACCESS_KEY | 0 | 1 | 2026-01-03 02:03:02+00:00 | 2026-01-03 02:03:02+00:00
select
    coalesce(agent_id, 'unknown') as agent_id,
    reason_code,
    count(*) filter (decision = 'redact') as redacted,
    count(*) filter (decision = 'block') as blocked,
    min(occurred_at) as first_at,
    max(occurred_at) as last_at,
from gateway_events
where event_kind = 'exchange' and starts_with(reason_code, 'DLP.')
group by all
order by redacted + blocked desc, agent_id, reason_code
