"""Measurements that are run by hand; no test and no CI job runs them."""
