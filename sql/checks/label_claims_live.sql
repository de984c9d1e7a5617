-- Zero rows expected: a verdict says `live judges` only when every vote it rests on came from a live judge.
select v.attempt_id, v.method_version, v.run_id
from stg_verdicts as v
where
    v.judges_label = 'live judges'
    and v.attempt_id in (select attempt_id from stg_judge_votes where not live)
