"""A small network whose layers and optimizer are nested in its config, as many programs have them."""

from itertools import pairwise

import torch
from ray import tune
from torch import nn

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


def train(config):
    torch.manual_seed(config.get("seed", 0))
    torch.set_num_threads(1)
    points = torch.randn(2000, 2)
    is_inside = (points.norm(dim=1) < 1).long()  # in the unit circle or not
    widths = [2, *config["layers"]]
    hidden = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
    model = nn.Sequential(*hidden, nn.Linear(widths[-1], 2))
    settings = dict(config["optimizer"])  # momentum is there for sgd only, betas for adam only
    optimizer = OPTIMIZERS[settings.pop("name")](model.parameters(), **settings)
    for _ in range(config["epochs"]):
        for batch in torch.randperm(1500).split(64):
            loss = nn.functional.cross_entropy(model(points[batch]), is_inside[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(points[1500:]).argmax(dim=1) == is_inside[1500:]).float().mean()
        tune.report({"accuracy": float(accuracy)})
