"""A plain PyTorch loop: the only line that is Tune's is the report."""

import torch
from ray import tune
from torch import nn


def train(config):
    torch.manual_seed(config["seed"])
    torch.set_num_threads(1)
    points = torch.randn(2000, 2)
    is_inside = (points.norm(dim=1) < 1).long()  # in the unit circle or not
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=config["learning_rate"])
    for _ in range(config["epochs"]):
        for batch in torch.randperm(1500).split(config["batch_size"]):
            loss = nn.functional.cross_entropy(model(points[batch]), is_inside[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(points[1500:]).argmax(dim=1) == is_inside[1500:]).float().mean()
        tune.report({"accuracy": float(accuracy), "loss": float(loss)})
