"""The file that holds every joule of a run exactly once, and what it says of the run."""
