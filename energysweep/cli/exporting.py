"""The command that hands a run to other tools: export."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from energysweep.cli.common import add_carbon, add_command, add_run_folder, grams, grid_of, path, run_folder
from energysweep.core.runfolder import LEDGER
from energysweep.core.terminal import note, say
from energysweep.export.formats import FORMATS


def add(commands: Any) -> None:
    """Add it to the command line."""
    parser = add_command(commands, "export", _export, "writes a run in the formats of other tools")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # a format in a line
    parser.epilog = "\n".join(
        textwrap.fill(f"{row.name} {row.does}.", 79, subsequent_indent="  ") for row in FORMATS.values()
    )
    add_run_folder(parser)
    parser.add_argument(
        "--format", metavar="FORMAT", required=True, choices=FORMATS, help=f"One of {', '.join(FORMATS)}; see below."
    )
    parser.add_argument(
        "--output",
        metavar="FILE_OR_DIR",
        type=path,
        help="It is written to this file, or into this folder; by default into the run's folder.",
    )
    parser.add_argument("--force", action="store_true", help="Files that are there already are replaced.")
    add_carbon(parser)
    parser.add_argument(
        "--of",
        choices=("sweep", "trial"),
        help="The file is of the whole sweep, or of one training (boamps, model-card).",
    )
    parser.add_argument(
        "--trial",
        metavar="TRIAL",
        help="The file is of this trial, or of the mean of this configuration's, named as reports have it; of the"
        " configuration that the report recommends by default (boamps, model-card).",
    )
    parser.add_argument(
        "--training-type", metavar="TEXT", help="What the training is, such as fine-tuning, is told (model-card)."
    )
    parser.add_argument(
        "--embodied-grams",
        metavar="G",
        type=grams,
        help="G grams of CO2e are M, the hardware's embodied emissions for the sweep's time and share (sci).",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        help="The key KEY of the run's sweep gets VALUE, such as trackers.wandb.mode=offline (mlflow, wandb,"
        " tensorboard). The option may be given several times.",
    )


def _export(arguments: argparse.Namespace) -> int:
    from dataclasses import fields

    from energysweep.export.formats import export
    from energysweep.export.run import Exported, Options
    from energysweep.ledger.model import open_text
    from energysweep.ledger.store import read_ledger
    from energysweep.ledger.summary import summarise
    from energysweep.report.not_measured import damage_lines

    grid = grid_of(arguments)
    data = read_ledger(run_folder(arguments.folder) / LEDGER)
    summary = summarise(data, grid)
    options = Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})
    done = export(arguments.format, Exported(arguments.folder, data, summary), options)
    for line in done:
        say(line)
    for problem in (*damage_lines(summary), open_text(summary.extent)):
        if problem:
            note(f"energysweep: {problem}")
    return 0
