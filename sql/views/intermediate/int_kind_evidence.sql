-- One row per (run, finding kind, asset, test): what a run found out, for every kind, in one shape.
-- A test is a posture check, or one distinct template of a probe family: repeats of a template are one test, and its
-- worst decided outcome counts. `outcome`: hit, clean, undecided, unknown (not read, or an error), not_applicable.
with members as (
    select run_id, unnest(members) as member_run_id
    from int_asof
),

templates as (
    select
        m.run_id,
        a.asset_id,
        a.family_id,
        a.template_sha256,
        case
            when bool_or(a.verdict = 'vulnerable') then 'hit'
            when bool_or(a.verdict = 'undecided') then 'undecided'
            when bool_or(a.verdict = 'resistant') then 'clean'
            when bool_or(a.verdict = 'error') then 'unknown'
            else 'not_applicable'
        end as outcome,
        bool_and(a.proof_label = 'real_component') as is_real,
    from members as m
    join int_adjudicated as a on a.run_id = m.member_run_id
    group by m.run_id, a.asset_id, a.family_id, a.template_sha256
)

select
    run_id,
    'probe.' || family_id as finding_kind,
    'probe' as method,
    asset_id,
    template_sha256 as test,
    outcome,
    is_real,
from templates

union all

select
    run_id,
    'check.' || check_id as finding_kind,
    'check' as method,
    asset_id,
    check_id as test,
    case outcome when 'pass' then 'clean' when 'fail' then 'hit' else outcome end as outcome,
    proof_label = 'real_component' as is_real,
from int_asof_checks
