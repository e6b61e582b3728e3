"""Figures for Prometheus of a coordinator and of a site, read from what lies in their folders."""
