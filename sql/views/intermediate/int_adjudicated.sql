-- One row per attempt with the verdict in force: human before judges before evidence, then the newest method.
-- An attempt that no method has decided keeps the verdict its own evidence gave it.
with ranked as (
    select
        *,
        row_number() over (
            partition by attempt_id
            order by
                case decided_by when 'human' then 0 when 'judges' then 1 else 2 end,
                decided_at desc,
                method_version desc
        ) as place,
    from stg_verdicts
)

select
    a.* exclude (verdict),
    a.verdict as evidence_verdict,
    coalesce(v.verdict, a.verdict) as verdict,
    coalesce(v.decided_by, 'evidence') as decided_by,
    v.method_version,
    v.pattern,
    v.confidence_ppm,
    coalesce(v.judges_label, 'no judges') as judges_label,
    v.route,
    v.reason,
    v.decided_at,
from stg_probe_attempts as a
left join ranked as v on v.attempt_id = a.attempt_id and v.place = 1
