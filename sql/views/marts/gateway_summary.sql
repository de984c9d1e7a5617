-- One row per (day, gateway, agent, decision, reason) over answered requests, with latency percentiles in microseconds.
with events as (
    select *
    from stg_gateway_events
    where event_kind = 'exchange'
    qualify row_number() over (partition by event_id order by recorded_at, run_id) = 1
)

select
    dt,
    gateway_id,
    coalesce(agent_id, '') as agent_id,
    coalesce(decision, 'none') as decision,
    coalesce(reason_code, '') as reason_code,
    count(*) as requests,
    cast(coalesce(sum(req_bytes), 0) as BIGINT) as req_bytes,
    cast(coalesce(sum(resp_bytes), 0) as BIGINT) as resp_bytes,
    cast(coalesce(sum(tokens_in), 0) as BIGINT) as tokens_in,
    cast(coalesce(sum(tokens_out), 0) as BIGINT) as tokens_out,
    cast(coalesce(sum(cost_micro_usd), 0) as BIGINT) as cost_micro_usd,
    quantile_disc(latency_us, 0.5) as latency_p50_us,
    quantile_disc(latency_us, 0.99) as latency_p99_us,
    quantile_disc(filter_us, 0.5) as filter_p50_us,
    quantile_disc(filter_us, 0.99) as filter_p99_us,
from events
group by all
