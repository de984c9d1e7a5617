-- One row per (finding, control): the newest stamp of the finding, kept as it was written.
select *
from stg_finding_controls
qualify dense_rank() over (partition by finding_id order by stamped_at desc, run_id desc) = 1
