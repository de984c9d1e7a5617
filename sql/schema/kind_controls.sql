-- One row per (finding kind, control): the mapping in force, also for kinds without a finding. relation `none` = not applicable.
create table kind_controls (
    finding_kind VARCHAR NOT NULL,
    control_key VARCHAR NOT NULL check (regexp_matches(control_key, '^[a-z0-9-]+@[^:]+:.+$')),
    catalog_sha256 VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    framework VARCHAR NOT NULL,
    relation VARCHAR NOT NULL check (relation in ('equal', 'subset_of', 'superset_of', 'intersects_with', 'none')),
    grade VARCHAR NOT NULL check (grade in ('official', 'third_party', 'derived', 'project')),
    edge_id VARCHAR NOT NULL,
    rationale VARCHAR NOT NULL,
    primary key (finding_kind, control_key, catalog_sha256, edge_id)
);
