-- Zero rows expected: the history of a finding is numbered 1, 2, 3 … without a gap.
select finding_id, min(seq) as first, max(seq) as last, count(*) as rows
from stg_findings
group by finding_id
having first <> 1 or last <> rows
