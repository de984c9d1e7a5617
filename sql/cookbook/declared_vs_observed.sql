-- Question: How many assets of each kind are declared, and how many were only found or only declared?
-- Tables: assets
-- Example:
--   kind | assets | declared | found_only | declared_only
--   agent | 1 | 1 | 0 | 0
--   ai_application | 1 | 1 | 0 | 0
--   llm_endpoint | 1 | 1 | 0 | 0
--   … 1 more
select
    kind,
    count(*) as assets,
    count(*) filter (declared) as declared,
    count(*) filter (not declared) as found_only,
    count(*) filter (proof_label = 'declared') as declared_only,
from assets
where state = 'present'
group by kind
order by kind
