"""The HTTP service: what it serves, to whom, and its client."""
