"""The agent: one per host, the only one whose readings a sweep accepts for that host. Imports neither Ray nor torch."""
