-- Zero rows expected: every verdict is about an attempt in the lake.
select v.attempt_id, v.method_version, v.run_id
from stg_verdicts as v
anti join stg_probe_attempts as a on a.attempt_id = v.attempt_id
