"""Lightning as it is: the only line that is not its own is the callback. It logs the energy, and reports."""

import pytorch_lightning as pl  # or: import lightning.pytorch as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from energysweep.lightning import EnergyCallback


class Circle(pl.LightningModule):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))

    def training_step(self, batch, batch_idx):
        points, labels = batch
        return nn.functional.cross_entropy(self.layers(points), labels)

    def validation_step(self, batch, batch_idx):
        points, labels = batch
        self.log("val_accuracy", (self.layers(points).argmax(dim=1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def train(config):
    pl.seed_everything(config["seed"])
    torch.set_num_threads(1)
    points = torch.randn(2000, 2)
    is_inside = (points.norm(dim=1) < 1).long()  # in the unit circle or not
    trainer = pl.Trainer(
        max_epochs=6,
        accelerator="cpu",
        logger=CSVLogger("logs"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[EnergyCallback()],
    )
    trainer.fit(
        Circle(config["width"]),
        DataLoader(TensorDataset(points[:1500], is_inside[:1500]), batch_size=32, shuffle=True),
        DataLoader(TensorDataset(points[1500:], is_inside[1500:]), batch_size=500),
    )
