"""What energysweep itself costs. ``python -m benchmarks.run`` prints the figures."""
