"""Databricks: new clusters through MLflow's own backend, existing clusters through the Jobs API.

MLflow's backend ``databricks`` makes a cluster for each run and refuses ``existing_cluster_id``; the Jobs API takes
it. Both ways send a snapshot of the project's files, where MLflow alone would send the whole folder but ``mlruns``:
``.venv``, ``mlflow.db`` and results too. Verified against a faked Jobs API only, see docs/databricks.md.
"""
