-- One row per (run, finding known by then): the finding's state when the run ended.
with evaluations as (
    -- Two evaluations at one moment have no order in time: the later in sequence stands.
    select *
    from stg_findings
    qualify row_number() over (partition by finding_id, evaluated_at order by seq desc, recorded_at desc) = 1
),

pairs as (
    select r.run_id, r.reads_until, f.finding_id
    from int_asof as r
    cross join (select distinct finding_id from evaluations) as f
)

select
    p.run_id,
    f.* exclude (run_id),
    f.run_id as evaluated_run_id,
from pairs as p
asof join evaluations as f on f.finding_id = p.finding_id and p.reads_until >= f.evaluated_at
