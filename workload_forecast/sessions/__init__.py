"""Session files: layouts, cleaning rules, the one-pass reduction, and the synthetic generator."""
