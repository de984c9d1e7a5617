"""The ledger: how much is spent, exact over all workers. `ledger.py` has the rule, one module each the storages, and
`leases.py` what a worker does in between."""
