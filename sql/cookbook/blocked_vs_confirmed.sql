-- Question: Which assets have active findings, and does the gateway stop anything they send?
-- Tables: findings, gateway_events
-- Example:
--   asset_name | active_findings | critical_or_high | requests | stopped
--   Support assistant | 2 | 1 | 0 | 0
--   File server | 1 | 1 | 0 | 0
--   Payments clerk | 1 | 1 | 5 | 2
with stopped as (
    select asset_id, count(*) as requests, count(*) filter (decision in ('block', 'redact')) as stopped
    from gateway_events
    where event_kind = 'exchange' and asset_id is not null
    group by asset_id
)

select
    f.asset_name,
    count(*) as active_findings,
    count(*) filter (f.severity in ('critical', 'high')) as critical_or_high,
    coalesce(any_value(s.requests), 0) as requests,
    coalesce(any_value(s.stopped), 0) as stopped,
from findings as f
left join stopped as s on s.asset_id = f.asset_id
where f.is_active
group by f.asset_id, f.asset_name
order by critical_or_high desc, active_findings desc, f.asset_name
