"""Retraining: from a verdict to a decision, a challenger, a gate and a release."""
