-- Question: Which assets have active findings, and does the gateway stop anything that they send or are sent?
-- Tables: assets, findings, gateway_events
-- Example:
--   asset_name | active_findings | critical_or_high | requests | stopped
--   Support assistant | 2 | 1 | 0 | 0
--   File server | 1 | 1 | 0 | 0
--   Payments clerk | 1 | 1 | 5 | 2
with stopped as (
    select a.asset_id, count(*) as requests, count(*) filter (e.decision in ('block', 'redact')) as stopped
    from gateway_events as e
    join assets as a on e.asset_id in (a.asset_id, a.inventory_id)
    where e.event_kind = 'exchange'
    group by a.asset_id
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
