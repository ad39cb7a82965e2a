"""Forecasts without Spark or a JVM: the compiled model, how it is stored, and who answers with it."""
