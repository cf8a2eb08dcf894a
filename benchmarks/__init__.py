"""Measure Steelyard in turn with a floor and with MLflow: ``python -m benchmarks``."""
