"""The project's training beside that of 2017."""
