-- One row per (alias, asset): an id that older evidence may carry.
create table asset_aliases (
    alias VARCHAR NOT NULL,
    asset_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    state VARCHAR NOT NULL check (state in ('merged', 'candidate', 'rejected')),
    reason VARCHAR NOT NULL,
    primary key (alias, asset_id, run_id)
);
