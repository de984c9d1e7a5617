-- Question: What did probing cost per target, and what did it find? Millionths of a dollar.
-- Tables: family_results, runs
-- Example:
--   asset_name | attempts | cost_micro_usd | families_vulnerable | micro_usd_per_family
--   Support assistant | 10 | 50 | 1 | 50
--   Payments clerk | 2 | 10 | 1 | 10
with newest as (
    select run_id, previous_run_id
    from runs
    where state in ('complete', 'incomplete')
    qualify row_number() over (order by started_at desc, run_id desc) = 1
)

select
    f.asset_name,
    cast(sum(f.attempts) as BIGINT) as attempts,
    cast(sum(f.cost_micro_usd) as BIGINT) as cost_micro_usd,
    count(*) filter (f.vulnerable > 0) as families_vulnerable,
    cast(sum(f.cost_micro_usd) // nullif(count(*) filter (f.vulnerable > 0), 0) as BIGINT) as micro_usd_per_family,
from newest as n
join family_results as f on f.run_id = n.run_id
group by f.asset_id, f.asset_name
order by cost_micro_usd desc, f.asset_name
