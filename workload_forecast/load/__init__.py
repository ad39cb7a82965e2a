"""Five-minute load → hourly peaks."""
