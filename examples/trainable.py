"""A class that Tune can stop and resume: it says how to set up, to do a step, to save and to load."""

from pathlib import Path

import torch
from ray import tune
from torch import nn


class Circle(tune.Trainable):
    def setup(self, config):
        torch.manual_seed(config["seed"])
        torch.set_num_threads(1)
        self.points = torch.randn(2000, 2)
        self.is_inside = (self.points.norm(dim=1) < 1).long()
        self.model = nn.Sequential(nn.Linear(2, config["width"]), nn.ReLU(), nn.Linear(config["width"], 2))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)

    def step(self):
        for batch in torch.randperm(1500).split(32):
            loss = nn.functional.cross_entropy(self.model(self.points[batch]), self.is_inside[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        with torch.no_grad():
            right = self.model(self.points[1500:]).argmax(dim=1) == self.is_inside[1500:]
        return {"accuracy": float(right.float().mean())}

    def save_checkpoint(self, checkpoint_dir):
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, Path(checkpoint_dir) / "state.pt")

    def load_checkpoint(self, checkpoint_dir):
        state = torch.load(Path(checkpoint_dir) / "state.pt")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def reset_config(self, new_config):
        self.setup(new_config)  # one process may do the next trial, which saves a second of starting
        return True
