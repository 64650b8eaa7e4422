"""A simulated cluster: real agents and real ledgers over invented hosts, with faults from a seed. No Ray, no waiting.

``python -m energysweep.simulation --nodes 5 --trials 200 --steps 500 --seed 1 --faults 0.05``
"""
