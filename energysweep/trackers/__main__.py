"""``python -m energysweep.trackers``: what a driver starts beside itself."""

from energysweep.trackers.following import main

if __name__ == "__main__":
    main()
