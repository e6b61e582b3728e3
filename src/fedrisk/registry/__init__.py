"""MLflow: record a run, move aliases, roll back, and keep the cache that serving reads."""
