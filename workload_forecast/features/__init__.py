"""Hourly load → features: the complete grid, calendar, lags and trailing statistics, and their composition."""
