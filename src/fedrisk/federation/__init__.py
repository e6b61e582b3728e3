"""Federated runs: strategies, messages, engines, and the app that answers at a site."""
