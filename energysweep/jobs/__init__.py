"""Sweeps as jobs of a Ray cluster: what goes there, and what comes back."""
