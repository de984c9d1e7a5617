-- One row per (finding, control, run): the stamp of the mapping at the time. relation `none` = explicitly not applicable.
create table finding_controls (
    finding_id VARCHAR NOT NULL,
    control_key VARCHAR NOT NULL check (regexp_matches(control_key, '^[a-z0-9-]+@[^:]+:.+$')),
    catalog_sha256 VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    framework VARCHAR NOT NULL,
    relation VARCHAR NOT NULL check (relation in ('equal', 'subset_of', 'superset_of', 'intersects_with', 'none')),
    grade VARCHAR NOT NULL check (grade in ('official', 'third_party', 'derived', 'project')),
    edge_id VARCHAR NOT NULL,
    rationale VARCHAR NOT NULL,
    stamped_at TIMESTAMPTZ NOT NULL,
    primary key (finding_id, control_key, run_id)
);
