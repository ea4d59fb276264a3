"""Pure functions from events to the rows that show what happened."""
