-- Question: How much leaves through the gateway, and where to?
-- Tables: gateway_events
-- Example:
--   destination | provider | requests | bytes_out | bytes_in
--   llm.bank.example | nimbus | 4 | 4000 | 2000
select
    coalesce(upstream_domain, 'unknown') as destination,
    coalesce(provider, 'unknown') as provider,
    count(*) as requests,
    cast(sum(coalesce(req_bytes, 0)) as BIGINT) as bytes_out,
    cast(sum(coalesce(resp_bytes, 0)) as BIGINT) as bytes_in,
from gateway_events
where event_kind = 'exchange' and decision <> 'block'
group by destination, provider
order by bytes_out desc, destination, provider
