"""Disclosure control: which questions are answered, and what is hidden in an answer."""
