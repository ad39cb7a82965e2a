"""What a training leaves in MLflow: its run, its model, its registered version."""
