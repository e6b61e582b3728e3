"""Backups: folders and databases copied whole, checked by hash, sealed for whoever may restore."""
