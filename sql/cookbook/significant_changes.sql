-- Question: Which targets became clearly better or worse than in the run before? Only intervals that do not overlap.
-- Tables: family_results, runs
-- Example:
--   family_id | asset_name | turned | before | now
--   (no rows)
with newest as (
    select run_id, previous_run_id
    from runs
    where state in ('complete', 'incomplete')
    qualify row_number() over (order by started_at desc, run_id desc) = 1
)

select
    f.family_id,
    f.asset_name,
    case when f.low_ppm > b.high_ppm then 'worse' else 'better' end as turned,
    b.vulnerable || '/' || (b.vulnerable + b.resistant) as before,
    f.vulnerable || '/' || (f.vulnerable + f.resistant) as now,
from newest as n
join family_results as f on f.run_id = n.run_id
join family_results as b
    on b.run_id = n.previous_run_id and b.asset_id = f.asset_id and b.family_id = f.family_id
where f.low_ppm > b.high_ppm or f.high_ppm < b.low_ppm
order by turned desc, f.family_id, f.asset_name
