"""Drafting a study from sites' files: profile the columns, propose, write TOML for people."""
