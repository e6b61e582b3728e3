"""The coordinator's side of runs that fit nothing, and the entry for runs of every kind."""
