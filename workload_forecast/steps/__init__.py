"""One module per entry point: read, call the rooms, write, log. All wiring is here."""
