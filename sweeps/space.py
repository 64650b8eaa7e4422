"""Makes a configuration of optimizers.py, as Optuna's define-by-run does: what YAML cannot say is computed."""


def space(trial):
    name = trial.suggest_categorical("optimizer.name", ["sgd", "adam"])
    trial.suggest_float("optimizer.lr", 3e-3, 1e-1, log=True)
    if name == "sgd":
        trial.suggest_float("optimizer.momentum", 0.5, 0.95, step=0.05)
    widest = 64
    for layer in range(trial.suggest_int("depth", 1, 3)):  # none is wider than the one before
        widest = trial.suggest_int(f"layers.{layer}", 8, widest, step=8)
    return {"epochs": 20}
