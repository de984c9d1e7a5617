-- Zero rows expected: every control a finding is stamped with exists in the catalogue edition the stamp names.
select distinct f.finding_id, f.control_key, f.catalog_sha256
from stg_finding_controls as f
anti join stg_controls as c on c.control_key = f.control_key and c.catalog_sha256 = f.catalog_sha256
where f.relation <> 'none'
