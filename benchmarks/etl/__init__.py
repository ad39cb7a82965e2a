"""The project's ETL beside what others would write for the same."""
