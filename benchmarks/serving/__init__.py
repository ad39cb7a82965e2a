"""The service against MLflow's own scoring server, and a soak of it, with real processes on the loopback interface."""
