"""The fleet's report: frames of one forecast in, one HTML page out that needs nothing else, no network either."""
