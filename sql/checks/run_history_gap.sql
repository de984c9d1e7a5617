-- Zero rows expected: the states of a run are numbered 1, 2, 3 … in the order of time and begin with `started`.
select run_id, seq, state, entered_at
from stg_runs
qualify
    row_number() over (partition by run_id order by entered_at, seq) <> seq
    or (seq = 1) <> (state = 'started')
