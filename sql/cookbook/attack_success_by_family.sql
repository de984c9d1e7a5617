-- Question: Which attacks worked in the newest finished run? Rates carry their 95 % bounds and stand beside the errors.
-- Tables: family_results, runs
-- Example:
--   family_id | asset_name | vulnerable | decided | undecided | error | rate_ppm | low_ppm | high_ppm
--   tool_misuse | Payments clerk | 1 | 1 | 0 | 0 | 1000000 | 206549 | 1000000
--   direct_override | Support assistant | 3 | 8 | 1 | 1 | 375000 | 136844 | 694258
with newest as (
    select run_id, previous_run_id
    from runs
    where state in ('complete', 'incomplete')
    qualify row_number() over (order by started_at desc, run_id desc) = 1
)

select
    f.family_id,
    f.asset_name,
    f.vulnerable,
    f.vulnerable + f.resistant as decided,
    f.undecided,
    f.error,
    f.rate_ppm,
    f.low_ppm,
    f.high_ppm,
from newest as n
join family_results as f on f.run_id = n.run_id
order by f.rate_ppm desc nulls last, f.low_ppm desc, f.family_id, f.asset_name
