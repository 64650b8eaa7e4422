"""A script that knows neither Ray nor energysweep. It prints a line of JSON now and then; other lines are ignored."""

import argparse
import json
import random

options = argparse.ArgumentParser()
options.add_argument("--step", type=float, required=True)
options.add_argument("--seed", type=int, default=0)
arguments = options.parse_args()

random.seed(arguments.seed)
guess = 0.0
print("looking for the square root of two")
for iteration in range(1, 9):
    for _ in range(100_000):
        guess += arguments.step * (2 - guess * guess) * random.random()
    print(json.dumps({"error": abs(guess * guess - 2), "iteration": iteration}), flush=True)
