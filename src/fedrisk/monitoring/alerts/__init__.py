"""Alerts: who is told of a verdict or of a retraining's end, how loudly, and not twice."""
