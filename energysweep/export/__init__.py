"""A run in the formats of others: a table of formats, and a module for each."""
