"""Compute targets: the same job on local Docker, a remote Docker host, a Spark cluster or Databricks."""
