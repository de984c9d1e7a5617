-- Zero rows expected: every vote of a judge on a case is about an attempt in the lake.
select v.attempt_id, v.judge_id, v.run_id
from stg_judge_votes as v
anti join stg_probe_attempts as a on a.attempt_id = v.attempt_id
where v.purpose in ('case', 'swap')
