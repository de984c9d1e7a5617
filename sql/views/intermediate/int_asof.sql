-- One row per run: its current state, the moment it speaks for, the run it is compared with and the runs it stands on.
-- `as_of` is the time of the run's newest state; `reads_until` is the same, or no limit while the run goes on.
-- `members` are the run itself and the earlier runs of its campaign, because a resumed campaign leaves work of one
-- result in several runs. Runs that only ship gateway events, label attempts or ask judges
-- again have no posture and are left out.
with last_state as (
    select
        run_id,
        min(entered_at) as started_at,
        max(entered_at) as as_of,
        max_by(flow, seq) as flow,
        max_by(campaign_id, seq) as campaign_id,
        max_by(state, seq) as state,
        max_by(code_version, seq) as code_version,
        max_by(params_sha256, seq) as params_sha256,
        max_by(demo, seq) as demo,
        max_by(judges_label, seq) as judges_label,
        max_by(detail, seq) as detail,
    from stg_runs
    where flow not in ('gateway-ingest', 'review', 'judging')
    group by run_id
),

with_previous as (
    select
        *,
        last_value(case when state in ('complete', 'incomplete') then run_id end ignore nulls) over (
            partition by flow, demo
            order by started_at, run_id
            rows between unbounded preceding and 1 preceding
        ) as previous_run_id,
    from last_state
),

campaign_members as (
    select r.run_id, list(m.run_id order by m.started_at, m.run_id) as members
    from last_state as r
    join last_state as m
        on m.campaign_id = r.campaign_id and m.campaign_id <> '' and m.started_at <= r.as_of
    group by r.run_id
),

roots as (
    select distinct run_id
    from stg_evidence
    where kind = 'root'
)

select
    p.run_id,
    p.flow,
    p.campaign_id,
    p.state,
    p.started_at,
    case when p.state in ('complete', 'incomplete', 'failed', 'abandoned') then p.as_of end as finished_at,
    p.as_of,
    case
        when p.state in ('complete', 'incomplete', 'failed', 'abandoned') then p.as_of
        else timestamptz '9999-12-31 00:00:00+00'
    end as reads_until,
    p.code_version,
    p.params_sha256,
    p.demo,
    p.judges_label,
    p.detail,
    p.previous_run_id,
    coalesce(c.members, [p.run_id]) as members,
    roots.run_id is not null as sealed,
from with_previous as p
left join campaign_members as c on c.run_id = p.run_id
left join roots on roots.run_id = p.run_id
