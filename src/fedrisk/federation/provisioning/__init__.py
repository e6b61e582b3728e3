"""Certificates, keys and the roster: who may take part in a federation, and how they prove it."""
