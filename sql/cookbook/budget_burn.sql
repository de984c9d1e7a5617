-- Question: How many tokens does each agent use per day through the gateway?
-- Tables: gateway_summary
-- Example:
--   dt | agent_id | requests | tokens_in | tokens_out
--   2026-01-03 | clerk | 4 | 40 | 20
--   2026-01-01 | clerk | 1 | 10 | 5
select
    dt,
    agent_id,
    cast(sum(requests) as BIGINT) as requests,
    cast(sum(tokens_in) as BIGINT) as tokens_in,
    cast(sum(tokens_out) as BIGINT) as tokens_out,
from gateway_summary
group by dt, agent_id
order by dt desc, sum(tokens_in + tokens_out) desc, agent_id
