"""The files of a run folder: what each is called, in one place."""

from __future__ import annotations

from typing import Final

LEDGER: Final = "ledger.sqlite"  # every joule of the run; all else can be made from it
SWEEP_FILE: Final = "sweep.yaml"  # the sweep, as it was given and overridden
TUNE_STATE: Final = "tune"  # what Ray Tune goes on from
RUN_KEY: Final = "run.key"
DRIVER_LOCK: Final = "driver.lock"
RAY_LOG: Final = "ray.log"
REPORT: Final = "report.html"
TRIALS: Final = "trials.csv"
CONFIGURATIONS: Final = "configurations.csv"
SUMMARY: Final = "summary.json"
MADE: Final = (TRIALS, CONFIGURATIONS, SUMMARY, REPORT)  # of the ledger, by `energysweep report`
COPY: Final = "energysweep"  # in the sweep's storage: a folder with copies of what may travel of these
TENSORBOARD: Final = "tensorboard"  # TensorBoard's event files, in a folder for each trial
WANDB: Final = "wandb"  # W&B's files: those of its offline runs, which wait for `wandb sync`
TRACKERS_STATE: Final = ".trackers"  # who brings the run to a tracker now, and what W&B has
OWN: Final = frozenset(
    {
        LEDGER,
        f"{LEDGER}-wal",
        f"{LEDGER}-shm",
        SWEEP_FILE,
        RUN_KEY,
        DRIVER_LOCK,
        RAY_LOG,
        *MADE,
    }
)
"""What energysweep itself keeps there, and nobody else may replace."""
