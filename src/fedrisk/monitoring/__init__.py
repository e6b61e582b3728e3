"""Monitoring: what current windows say about the champion, judged against its reference."""
