-- One row per relationship and run in which it was seen.
create table edges (
    src_id VARCHAR NOT NULL,
    dst_id VARCHAR NOT NULL,
    rel VARCHAR NOT NULL check (rel in ('uses', 'bundles', 'mounts', 'exposes', 'calls', 'delegates_to', 'retrieves_from',
        'indexes', 'embeds_with', 'serves', 'routes_to', 'trained_on', 'runs_as')),
    run_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    valid_from TIMESTAMPTZ NOT NULL,
    primary key (src_id, dst_id, rel, run_id)
);
