"""``python -m energysweep``."""

import sys

from energysweep.cli import main

sys.exit(main())
