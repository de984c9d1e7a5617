-- Zero rows expected: an attempt called vulnerable by its own evidence says what that evidence is.
select attempt_id, run_id, family_id
from stg_probe_attempts
where verdict = 'vulnerable' and evidence_kind is null
