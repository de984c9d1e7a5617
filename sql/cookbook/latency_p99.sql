-- Question: How long do requests take through the gateway, and how much of it is filtering? Microseconds.
-- Tables: gateway_events
-- Example:
--   dt | gateway_id | requests | latency_p50_us | latency_p99_us | filter_p50_us | filter_p99_us
--   2026-01-03 | g1 | 4 | 20000 | 40000 | 200 | 400
--   2026-01-01 | g1 | 1 | 10000 | 10000 | 100 | 100
select
    dt,
    gateway_id,
    count(*) as requests,
    quantile_disc(latency_us, 0.5) as latency_p50_us,
    quantile_disc(latency_us, 0.99) as latency_p99_us,
    quantile_disc(filter_us, 0.5) as filter_p50_us,
    quantile_disc(filter_us, 0.99) as filter_p99_us,
from gateway_events
where event_kind = 'exchange'
group by dt, gateway_id
order by dt desc, gateway_id
