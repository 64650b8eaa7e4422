"""A framework that has the loop and calls back, as Lightning and Hugging Face do: the report is a callback."""

import torch
from ray import tune
from torch import nn


class ReportToTune:
    def on_validation_end(self, trainer, model):  # Lightning's hook; of Hugging Face: on_evaluate(..., metrics, ...)
        tune.report({name: float(value) for name, value in trainer.callback_metrics.items()})


class Trainer:
    """A stand-in with Lightning's hook and names, so that this example runs without Lightning."""

    def __init__(self, max_epochs, callbacks):
        self.max_epochs, self.callbacks, self.callback_metrics = max_epochs, callbacks, {}

    def fit(self, model, points, labels):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(self.max_epochs):
            for batch in torch.randperm(1500).split(32):
                loss = nn.functional.cross_entropy(model(points[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                right = model(points[1500:]).argmax(dim=1) == labels[1500:]
            self.callback_metrics = {"val_accuracy": right.float().mean()}
            for callback in self.callbacks:
                callback.on_validation_end(self, model)


def train(config):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    points = torch.randn(2000, 2)
    model = nn.Sequential(nn.Linear(2, config["width"]), nn.ReLU(), nn.Linear(config["width"], 2))
    trainer = Trainer(max_epochs=6, callbacks=[ReportToTune()])
    trainer.fit(model, points, (points.norm(dim=1) < 1).long())
