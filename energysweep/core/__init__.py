"""What every other part stands on: errors, a host, records, metrics, texts."""
