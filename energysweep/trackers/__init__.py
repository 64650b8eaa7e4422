"""MLflow, W&B, TensorBoard: a run's records in the trackers that people already look at.

A tracker is a consumer of the ledger. Whoever brings it up to date reads the ledger, makes ``records`` of it, and hands
all of them to a ``Tracker``, which knows or finds out what it has already, and takes the rest. So the live run
(``following``, in a process of its own, every few seconds), catching up, and ``energysweep export`` are one path.
"""
