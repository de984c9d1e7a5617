-- One row per posture run: its current state, times, the run it is compared with and whether its evidence is sealed.
select
    run_id,
    flow,
    campaign_id,
    state,
    started_at,
    finished_at,
    date_diff('second', started_at, finished_at) as duration_s,
    as_of,
    previous_run_id,
    sealed,
    demo,
    judges_label,
    code_version,
    params_sha256,
    len(members) as member_runs,
    detail,
from int_asof
