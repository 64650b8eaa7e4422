"""Training code that ships with energysweep: ordinary Ray Tune trainables, the same as a user's own."""
