-- One row per piece of proof: signed roots, tile and table roots, quality results, source outcomes, plans.
select
    run_id,
    kind,
    table_name,
    position,
    sha256,
    cast(detail as JSON) as detail,
    signature,
    key_id,
    made_at,
    recorded_at,
    batch_key,
    row_sha256,
from lake.evidence
