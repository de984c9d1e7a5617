-- One row per attempt: what was sent to whom, and the verdict in force (human before judges before evidence).
with assets as (
    select asset_id, kind, name
    from stg_asset_versions
    qualify row_number() over (partition by asset_id order by valid_from desc, recorded_at desc) = 1
)

select
    t.attempt_id,
    t.run_id,
    t.campaign_id,
    t.asset_id,
    a.name as asset_name,
    a.kind as asset_kind,
    t.family_id,
    t.seed_id,
    t.template_sha256,
    t.transforms,
    t.trial,
    t.tries,
    t.verdict,
    t.decided_by,
    t.evidence_verdict,
    t.evidence_kind,
    t.evidence_ref,
    t.error_kind,
    t.method_version,
    t.pattern,
    t.confidence_ppm,
    t.judges_label,
    t.route,
    t.reason,
    t.excerpt,
    t.tool_trace,
    t.finish,
    t.tokens_in,
    t.tokens_out,
    t.cost_micro_usd,
    t.started_at,
    t.ended_at,
    date_diff('millisecond', t.started_at, t.ended_at) as duration_ms,
    t.request_sha256,
    t.response_sha256,
    t.rubric,
    t.proof_label,
    t.dt,
from int_adjudicated as t
left join assets as a on a.asset_id = t.asset_id
