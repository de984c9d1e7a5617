-- Question: What did the gateway redact, flag and block, by day and reason?
-- Tables: gateway_summary
-- Example:
--   dt | decision | reason_code | requests
--   2026-01-03 | redact | DLP.PII.EMAIL | 1
--   2026-01-03 | block | DLP.SECRET.AWS_ACCESS_KEY | 1
--   2026-01-03 | flag | INJECTION.OVERRIDE | 1
select dt, decision, reason_code, cast(sum(requests) as BIGINT) as requests
from gateway_summary
where decision in ('redact', 'flag', 'block')
group by dt, decision, reason_code
order by dt desc, requests desc, reason_code
