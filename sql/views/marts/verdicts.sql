-- One row per (attempt, method): each verdict ever given, and whether it is the one in force.
select
    v.attempt_id,
    v.method_version,
    v.verdict,
    v.decided_by,
    v.pattern,
    v.confidence_ppm,
    v.judges_label,
    v.route,
    v.reason,
    v.decided_at,
    coalesce(t.method_version = v.method_version, false) as in_force,
    t.asset_id,
    t.family_id,
    v.run_id,
    v.dt,
from stg_verdicts as v
left join int_adjudicated as t on t.attempt_id = v.attempt_id
