"""Forecast each server's load class for the next 48 hours, from session records, as an MLflow project."""

__version__ = "0.1.0"
