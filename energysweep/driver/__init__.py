"""The process that runs a sweep: what it tells Ray Tune, and what it writes into the ledger."""
