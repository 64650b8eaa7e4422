"""Real containers, by make test-containers."""
