"""The grid by the hour: what a kilowatt-hour has emitted in each, and who says so."""
