"""What became of past forecasts: their scores beside what was promised, drift, and whether that is an alarm."""
