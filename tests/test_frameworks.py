"""The callbacks of Lightning and Hugging Face's Trainer, in both as they are, with tiny models of random weights."""

from __future__ import annotations

import csv
import json
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

import energysweep
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger, LedgerData
from energysweep.sweepfile import load_spec
from tests.agent.test_tracking import burn, meters  # noqa: F401 - the fixture
from tests.agent.test_training import Trial, trial  # noqa: F401 - the fixture

# Importing either takes longer than most tests do.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("energy_joules", "active_energy_joules", "emissions_grams", "power_watts")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


# In a sweep: the examples themselves ---------------------------------------------------------------------------------


def run_example(name: str, folder: Path, logs: str) -> LedgerData:
    """The example's sweep, with the folder of its logs, which is a relative one there, below a folder of ours."""
    from energysweep.driver.run import run

    program = (EXAMPLES / f"{name}.py").read_text()
    assert program.count(f'"{logs}"') == 1
    seed_and_size = 'f"-{config}".replace(" ", "").replace("\'", "")'
    (folder / f"{name}.py").write_text(program.replace(f'"{logs}"', f'"{folder}/{logs}" + {seed_and_size}'))
    (folder / f"{name}.yaml").write_text((EXAMPLES / f"{name}.yaml").read_text())
    done = run(load_spec(folder / f"{name}.yaml"), output=folder / "results", metrics_port=0)
    assert done.problems == ()
    with Ledger.open(done.folder / LEDGER) as ledger:
        return ledger.read()


def reports_of(data: LedgerData) -> dict[str, list[dict[str, Any]]]:
    """What the ledger has of each trial's reports, by the text of its parameters and seed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in data.trials:
        assert each.status == "completed"
        (size,) = each.parameters.values()
        rows = sorted((row for row in data.results if row.trial == each.trial), key=lambda row: row.iteration)
        assert rows
        assert all((row.energy_joules or 0) > 0 for row in rows[1:])
        found[f"{size} {each.seed}"] = [
            row.metrics | {"energy_joules": row.energy_joules, "active_energy_joules": row.active_energy_joules}
            for row in rows
        ]
    return found


def config_of(folder: Path) -> str:
    """The same of a folder of logs, whose name is the config."""
    config = dict(pair.split(":") for pair in folder.name.partition("-")[2].strip("{}").split(","))
    seed = config.pop("seed")
    (size,) = config.values()
    return f"{size} {seed}"


@pytest.mark.ray
def test_in_a_sweep_hugging_face_s_log_has_the_energy_of_the_ledger_s_reports(tmp_path: Path, agent_home: Path) -> None:
    reports = reports_of(run_example("trainer", tmp_path, "checkpoints"))
    logged = {config_of(folder): folder for folder in tmp_path.glob("checkpoints-*")}
    assert len(reports) == 4
    assert logged  # one that was stopped at its target has not come to its last line
    for config, rows in reports.items():
        assert [row["epoch"] for row in rows] == [float(number) for number in range(1, len(rows) + 1)]
        if config not in logged or not (file := logged[config] / "trainer_state.json").exists():
            assert rows[-1]["eval_accuracy"] >= 0.9
            continue
        history = json.loads(file.read_text())["log_history"]
        evaluated = [entry for entry in history if "eval_accuracy" in entry]
        for name in ("energy_joules", "active_energy_joules", "eval_accuracy", "eval_loss", "epoch"):
            assert [entry[name] for entry in evaluated] == [row[name] for row in rows]
        energies = [entry["energy_joules"] for entry in history]
        assert energies == sorted(energies)
        assert {"loss", "learning_rate"} <= set(rows[0])  # the newest of all that was logged


@pytest.mark.ray
def test_in_a_sweep_lightning_s_log_has_the_energy_of_the_ledger_s_reports(tmp_path: Path, agent_home: Path) -> None:
    reports = reports_of(run_example("lightning_module", tmp_path, "logs"))
    logged = {config_of(folder): folder for folder in tmp_path.glob("logs-*")}
    assert set(logged) == set(reports)
    for config, rows in reports.items():
        (file,) = logged[config].rglob("metrics.csv")
        entries = list(csv.DictReader(file.read_text().splitlines()))
        accuracies = [float(entry["val_accuracy"]) for entry in entries if entry["val_accuracy"]]
        energies = [float(entry["energy_joules"]) for entry in entries if entry["energy_joules"]]
        assert accuracies == [row["val_accuracy"] for row in rows]
        # Also of the report with which a trial was stopped at its target.
        assert energies == [row["energy_joules"] for row in rows]
        assert len(rows) == 6 or rows[-1]["val_accuracy"] >= 0.9


# Hugging Face --------------------------------------------------------------------------------------------------------


def make_trainer(callback: Any, folder: Path, **arguments: Any) -> Any:
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        Trainer,
        TrainingArguments,
        default_data_collator,
    )

    def collate(rows: list[Any]) -> Any:
        burn(0.05)  # so that the meters have something to tell
        return default_data_collator(rows)

    torch.manual_seed(0)
    rows = [{"input_ids": torch.tensor([number % 8 + 4, 5]), "labels": number % 2} for number in range(16)]
    config = BertConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    defaults = {
        "num_train_epochs": 3, "per_device_train_batch_size": 8, "logging_strategy": "epoch", "eval_strategy": "epoch",
        "save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True,
    }  # fmt: skip
    return Trainer(
        BertForSequenceClassification(config),
        TrainingArguments(str(folder), **(defaults | arguments)),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=collate,
        callbacks=[callback],
    )


def hugging_face(**options: Any) -> Any:
    from energysweep.huggingface import EnergyCallback

    return EnergyCallback(**options)


def test_hugging_face_s_log_has_the_trial_s_numbers_and_tune_its_reports(trial: Trial, tmp_path: Path) -> None:  # noqa: F811
    trainer = make_trainer(hugging_face(), tmp_path)
    trainer.train()
    assert [report["epoch"] for report in trial.reports] == [1.0, 2.0, 3.0]
    assert all({"loss", "eval_loss", "eval_runtime"} <= set(report) for report in trial.reports)
    history = trainer.state.log_history
    assert len(history) == 7
    assert all(entry["energy_joules"] == 100.0 for entry in history)
    assert [("power_watts" in entry) for entry in history] == [("eval_loss" in entry) for entry in history]
    trial.joules = 200.0
    metrics = trainer.evaluate()  # after the training it is a report, too
    assert (metrics["energy_joules"], len(trial.reports)) == (200.0, 4)


@pytest.mark.parametrize(
    ("arguments", "reports"),
    [
        ({"eval_strategy": "no"}, ["loss"] * 3),
        ({"eval_strategy": "no", "logging_strategy": "no"}, ["train_loss"]),
    ],
)
def test_a_training_without_evaluation_reports_its_losses(
    trial: Trial,  # noqa: F811
    tmp_path: Path,
    arguments: dict[str, Any],
    reports: list[str],
) -> None:
    make_trainer(hugging_face(), tmp_path, **arguments).train()
    assert [[name for name in ("loss", "train_loss") if name in report][-1] for report in trial.reports] == reports


def test_a_trial_that_is_stopped_has_its_last_report_in_all_logs(trial: Trial, tmp_path: Path) -> None:  # noqa: F811
    trial.ends_after = 2
    trainer = make_trainer(hugging_face(), tmp_path, report_to="tensorboard")
    with pytest.raises(SystemExit):
        trainer.train()
    assert [entry["energy_joules"] for entry in trainer.state.log_history if "eval_loss" in entry] == [100.0, 100.0]
    assert len(tensorboard(tmp_path, "eval/loss")) == 2
    assert len(trial.reports) == 2


def tensorboard(folder: Path, tag: str) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = folder.rglob("events.out.tfevents.*")
    return [event.value for event in EventAccumulator(str(file)).Reload().Scalars(tag)]


def test_outside_of_a_trial_the_log_and_its_loggers_have_a_block_s_energy_which_a_resumed_one_goes_on(
    meters: list[str],  # noqa: F811
    tmp_path: Path,
) -> None:
    options = {"save_strategy": "epoch", "report_to": "tensorboard"}
    callback = hugging_face(meters=meters, grams_per_kwh=360)
    trainer = make_trainer(callback, tmp_path, **options)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "energy_joules" in entry]
    energies = [entry["energy_joules"] for entry in history]
    assert energies == sorted(energies)
    assert energies[-1] > 0
    assert history[-1]["emissions_grams"] == pytest.approx(energies[-1] * 1e-4)
    assert set(NAMES) <= set(history[-1])
    assert tensorboard(tmp_path, "train/energy_joules") == pytest.approx(energies)
    assert trainer.evaluate().get("energy_joules") is None  # no block is open
    checkpoint = tmp_path / "checkpoint-2"
    saved = json.loads((checkpoint / "trainer_state.json").read_text())
    before = saved["stateful_callbacks"]["EnergyCallback"]["attributes"]["resumed"]["energy_joules"]
    for restores in (False, True):
        resumed = make_trainer(
            hugging_face(meters=meters), tmp_path, **options, restore_callback_states_from_checkpoint=restores
        )
        resumed.train(resume_from_checkpoint=str(checkpoint))
        assert before < resumed.state.log_history[-1]["energy_joules"]
    trainer.train()
    assert callback._energy._before == {}  # another training, of the same callback
    assert trainer.state.log_history[-1]["energy_joules"] == callback._energy.latest["energy_joules"]


def test_an_error_that_ends_a_training_ends_its_block(meters: list[str], tmp_path: Path) -> None:  # noqa: F811
    from transformers import TrainerCallback

    class Fails(TrainerCallback):
        def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
            within = energysweep.spent()
            assert within is not None
            assert within.name == "training"
            raise ZeroDivisionError

    callback = hugging_face(meters=meters)
    trainer = make_trainer(callback, tmp_path)
    trainer.add_callback(Fails())
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    end_watches()
    assert energysweep.spent() is None
    trainer.pop_callback(Fails)
    trainer.train()
    assert trainer.state.log_history[-1]["energy_joules"] > 0


def end_watches() -> None:
    """Wait until nobody looks after a training any more."""
    for thread in threading.enumerate():
        if thread.name == "energysweep-training":
            thread.join()


def test_the_processes_beside_the_first_log_and_report_nothing(trial: Trial, tmp_path: Path) -> None:  # noqa: F811
    trainer = make_trainer(hugging_face(), tmp_path)
    trainer.is_world_process_zero = lambda: False
    trainer.train()
    assert trial.reports == []
    assert not any("energy_joules" in entry for entry in trainer.state.log_history)


# Lightning -----------------------------------------------------------------------------------------------------------


def lightning(**options: Any) -> Any:
    from energysweep.lightning import EnergyCallback

    return EnergyCallback(**options)


def fit(callback: Any, folder: Path, *, validates: bool = True, fails: bool = False, **options: Any) -> Any:
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.loggers import CSVLogger
    from torch.utils.data import DataLoader, TensorDataset

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if fails:
                raise ZeroDivisionError
            burn(0.1)
            loss = self.layer(batch[0]).square().mean()
            self.log("loss", loss, on_epoch=True, on_step=False)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.layer(batch[0]).square().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=4)
    checkpoint = options.pop("ckpt_path", None)
    trainer = pl.Trainer(
        accelerator="cpu", logger=CSVLogger(folder), enable_progress_bar=False, enable_model_summary=False,
        callbacks=[callback], **({"max_epochs": 3} | options),
    )  # fmt: skip
    trainer.fit(Model(), data, data if validates else None, ckpt_path=checkpoint)
    return trainer


def rows_of(folder: Path) -> list[dict[str, str]]:
    *_, file = sorted(folder.rglob("metrics.csv"))
    return [row for row in csv.DictReader(file.read_text().splitlines()) if row.get("energy_joules")]


def test_lightning_s_loggers_have_the_trial_s_numbers_and_tune_its_reports(trial: Trial, tmp_path: Path) -> None:  # noqa: F811
    trainer = fit(lightning(), tmp_path)
    assert len(trial.reports) == 3  # and none of the sanity check
    assert all("val_loss" in report and "energy_joules" not in report for report in map(own, trial.reports))
    assert [float(row["energy_joules"]) for row in rows_of(tmp_path)] == [100.0] * 3
    assert float(trainer.callback_metrics["emissions_grams"]) == 0.1
    assert trainer.callback_metrics["energy_joules"].dtype.itemsize == 8


def own(report: Any) -> dict[str, Any]:
    from energysweep.tune.results import own_metrics

    return own_metrics(report)


def test_a_fit_without_validation_reports_each_epoch_and_one_with_it_at_times_only_then(
    trial: Trial,  # noqa: F811
    tmp_path: Path,
) -> None:
    fit(lightning(), tmp_path / "never", validates=False)
    assert len(trial.reports) == 3
    fit(lightning(), tmp_path / "at times", check_val_every_n_epoch=2, max_epochs=4)
    assert len(trial.reports) == 3 + 2
    assert len(rows_of(tmp_path / "at times")) == 4
    fit(lightning(report=False), tmp_path / "own")
    assert len(trial.reports) == 3 + 2
    assert len(rows_of(tmp_path / "own")) == 3


def test_a_fit_that_is_stopped_has_its_last_report_in_the_log(trial: Trial, tmp_path: Path) -> None:  # noqa: F811
    trial.ends_after = 2
    with pytest.raises(SystemExit):
        fit(lightning(), tmp_path)
    assert len(trial.reports) == len(rows_of(tmp_path)) == 2


def test_outside_of_a_trial_a_block_is_logged_and_a_resumed_fit_goes_on(meters: list[str], tmp_path: Path) -> None:  # noqa: F811
    callback = lightning(meters=meters, grams_per_kwh=360)
    trainer = fit(callback, tmp_path / "first")
    logged = [{name: float(row[name]) for name in NAMES if row[name]} for row in rows_of(tmp_path / "first")]
    energies = [row["energy_joules"] for row in logged]
    assert energies == sorted(energies)
    assert len(energies) == 3
    assert logged[-1]["emissions_grams"] == pytest.approx(energies[-1] * 1e-4)
    assert 0 < logged[-1]["power_watts"] <= 100.0 + 1e-6
    trainer.save_checkpoint(tmp_path / "it.ckpt")
    fit(lightning(meters=meters), tmp_path / "again", ckpt_path=tmp_path / "it.ckpt", max_epochs=4)
    (again,) = rows_of(tmp_path / "again")
    assert float(again["energy_joules"]) > energies[-1]
    with pytest.raises(ZeroDivisionError):
        fit(callback, tmp_path / "fails", fails=True)
    assert energysweep.spent() is None  # its block has ended


def test_a_callback_can_be_sent_to_another_process() -> None:
    callback = pickle.loads(pickle.dumps(lightning(report=False)))  # noqa: S301 - our own
    assert type(callback).__name__ == "EnergyCallback"
