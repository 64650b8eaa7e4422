"""Everything that knows Ray: the metered trainable, sweeps, placement, progress."""
