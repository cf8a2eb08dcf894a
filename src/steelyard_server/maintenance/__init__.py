"""Runs that tend what is stored while the server serves: collections of garbage, and verifications."""
