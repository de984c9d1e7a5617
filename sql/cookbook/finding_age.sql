-- Question: How long have findings been open, by severity?
-- Tables: findings
-- Example:
--   severity | active | accepted | youngest_days | median_days | oldest_days
--   critical | 2 | 0 | 0 | 0 | 2
--   high | 1 | 0 | 2 | 2 | 2
--   medium | 1 | 1 | 0 | 0 | 0
select
    severity,
    count(*) as active,
    count(*) filter (state = 'accepted') as accepted,
    min(age_days) as youngest_days,
    quantile_disc(age_days, 0.5) as median_days,
    max(age_days) as oldest_days,
from findings
where is_active
group by severity
order by list_position(['critical', 'high', 'medium', 'low', 'info'], severity)
