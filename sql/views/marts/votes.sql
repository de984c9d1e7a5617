-- One row per vote of a judge (or of the meta-judge) on an attempt, beside the verdict in force.
select
    v.attempt_id,
    v.judge_id,
    v.judge_version,
    v.repeat,
    v.role,
    v.provider,
    v.model,
    v.live,
    v.verdict,
    v.confidence_ppm,
    v.evidence_span,
    v.rationale_redacted,
    v.error_kind,
    t.verdict as verdict_in_force,
    t.decided_by,
    case
        when v.verdict in ('vulnerable', 'resistant') and t.verdict in ('vulnerable', 'resistant')
            then v.verdict = t.verdict
    end as agrees,
    t.asset_id,
    t.family_id,
    v.rubric_sha256,
    v.tokens_in,
    v.tokens_out,
    v.cost_micro_usd,
    v.voted_at,
    v.run_id,
    v.dt,
from stg_judge_votes as v
left join int_adjudicated as t on t.attempt_id = v.attempt_id
