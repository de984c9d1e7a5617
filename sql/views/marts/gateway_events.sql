-- One row per gateway event, also when its segment was shipped twice. No prompt or reply text.
select * exclude (batch_key, row_sha256)
from stg_gateway_events
qualify row_number() over (partition by event_id order by recorded_at, run_id) = 1
