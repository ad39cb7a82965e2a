"""What start.py does: settings, tables, artifacts' container, server. Needs MLflow and its drivers alone."""
