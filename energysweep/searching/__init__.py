"""Who of a sweep's trials runs, how long, and within which budget: searches, schedulers, forecasts, rehearsals."""
