"""WHEN and IN WHICH ORDER: the only ring that knows schedules, retries, progress and the command line.

- `posture`   the table of contents: nightly and weekly, step by step
- `discover` `assess` `probe` `judge` `map_controls` `ingest_gateway` `publish` `export`   one step each
- `engine`    the seam: the same steps plain or under Prefect
- `deployments`   the two flows as Prefect sees them
- `demo`      the same nightly flow over the live demo estate
- `cli`       `aispm`
"""
