-- Question: How many tokens does each agent use per day through the gateway, and what does that cost?
-- Tables: gateway_summary
-- Example:
--   dt | agent_id | requests | tokens_in | tokens_out | cost_micro_usd
--   2026-01-03 | clerk | 4 | 40 | 20 | 0
--   2026-01-01 | clerk | 1 | 10 | 5 | 0
select
    dt,
    agent_id,
    cast(sum(requests) as BIGINT) as requests,
    cast(sum(tokens_in) as BIGINT) as tokens_in,
    cast(sum(tokens_out) as BIGINT) as tokens_out,
    cast(sum(cost_micro_usd) as BIGINT) as cost_micro_usd,
from gateway_summary
group by dt, agent_id
order by dt desc, sum(tokens_in + tokens_out) desc, agent_id
