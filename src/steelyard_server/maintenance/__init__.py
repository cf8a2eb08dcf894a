"""Runs that tend what is stored while the server serves."""
