-- One row per (run, provider, host, model): what of its cases judging sent out of the machine, and how redacted.
select
    run_id,
    detail->>'$.provider' as provider,
    detail->>'$.host' as host,
    detail->>'$.model' as model,
    (detail->>'$.requests')::BIGINT as requests,
    (detail->>'$.bytes')::BIGINT as bytes,
    detail->>'$.redaction' as redaction,
    made_at,
from stg_evidence
where kind = 'egress'
