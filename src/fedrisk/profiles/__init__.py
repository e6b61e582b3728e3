"""Profiles: bin counts of features and scores, that add up over sites, replicas and time."""

from fedrisk.profiles.profile import Profile, Window

__all__ = ["Profile", "Window"]
