"""``python -m workload_forecast``: what the entry points of ``MLproject`` call."""

from workload_forecast.cli import entry_point

entry_point()
