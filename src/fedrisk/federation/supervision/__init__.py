"""Flower's processes as children that are started, watched, started again and stopped."""
