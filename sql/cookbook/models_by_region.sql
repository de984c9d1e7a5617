-- Question: Which models run where? `unknown` = no source read a region.
-- Tables: assets
-- Example:
--   region | model | assets
--   eu-central-1 | nimbus-support-1 | 1
select
    coalesce(props ->> '$.region', 'unknown') as region,
    coalesce(props ->> '$.model', name) as model,
    count(*) as assets,
from assets
where
    state = 'present'
    and kind in ('llm_endpoint', 'embedding_model', 'fine_tuned_model', 'self_hosted_model', 'cloud_ai_service')
group by region, model
order by region, model
