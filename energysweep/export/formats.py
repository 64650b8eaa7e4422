"""The formats that a run can be exported to: one table, from which the command line and its messages are made.

A format is a row here and the function that carries it out. docs/export.md names every row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from energysweep.core.errors import InputError

if TYPE_CHECKING:
    from energysweep.export.run import Exported, Options


@dataclass(frozen=True, slots=True)
class Format:
    """One row.

    Attributes:
        name: as it is asked for.
        does: what comes out, after its name.
        made_by: ``module:function`` that takes an ``Exported`` and ``Options``, does it all, and returns the lines that
            tell of it.
        options: those of ``Options`` that it goes by; any other one that is given is an error.
        package: what it imports beside the core, and what pip installs it by.
    """

    name: str
    does: str
    made_by: str
    options: Collection[str] = ()
    package: tuple[str, str] | None = None


_FILE = ("output", "force")
_TRACKER = ("set",)

FORMATS: Final[dict[str, Format]] = {
    row.name: row
    for row in (
        Format(
            "codecarbon",
            "is emissions.csv as CodeCarbon writes it, a row for each trial",
            "energysweep.export.codecarbon:export",
            _FILE,
        ),
        Format(
            "boamps",
            "is a draft of a report in BoAmps' data model, of the whole sweep unless --of or --trial says otherwise",
            "energysweep.export.boamps:export",
            (*_FILE, "of", "trial"),
        ),
        Format(
            "sci",
            "is the Software Carbon Intensity (ISO/IEC 21031) per trial, configuration and training run to the target",
            "energysweep.export.sci:export",
            (*_FILE, "embodied_grams"),
        ),
        Format(
            "model-card",
            "is a model card's co2_eq_emissions, of the training that the report recommends or of what --trial or --of"
            " says",
            "energysweep.export.model_card:export",
            (*_FILE, "of", "trial", "training_type"),
        ),
        Format(
            "parquet",
            "is a folder of typed tables: trials, configurations, results, energy",
            "energysweep.export.parquet:export",
            _FILE,
            ("pyarrow", "pyarrow"),
        ),
        Format(
            "mlflow",
            "brings to MLflow what of the run is not there yet",
            "energysweep.export.tracked:to_mlflow",
            _TRACKER,
            ("mlflow", "'energysweep[mlflow]'"),
        ),
        Format(
            "wandb",
            "brings to W&B what of the run is not there yet",
            "energysweep.export.tracked:to_wandb",
            _TRACKER,
            ("wandb", "'energysweep[wandb]'"),
        ),
        Format(
            "tensorboard",
            "writes what of the run is not there yet into TensorBoard's event files, tensorboard/ in the run folder",
            "energysweep.export.tracked:to_tensorboard",
            _TRACKER,
            ("tensorboard", "'energysweep[tensorboard]'"),
        ),
    )
}


def export(name: str, run: Exported, options: Options) -> Sequence[str]:
    """Export a run.

    Args:
        name: of the format.
        run: what is exported.
        options: as they were given.

    Returns:
        What has been done, a line for each thing.

    Raises:
        InputError: the format does not take an option, or needs what is not installed; what it needs the run does not
            have; or a file is in the way.
        EnergysweepError: it cannot be written.
    """
    row = FORMATS[name]
    for option in options.given:
        if option not in row.options:
            takers = ", ".join(each.name for each in FORMATS.values() if option in each.options)
            key = f"--{option.replace('_', '-')}"
            raise InputError(f"the format {name} does not take it; it is for {takers}", key=key)
    if row.package is not None and find_spec(row.package[0]) is None:
        problem = f"{name} needs {row.package[0]}, which is not installed: pip install {row.package[1]}"
        raise InputError(problem, key="--format")
    module, _, function = row.made_by.partition(":")
    carry_out: Callable[[Exported, Options], Sequence[str]] = getattr(import_module(module), function)
    return carry_out(run, options)
