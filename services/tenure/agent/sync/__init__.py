"""Keeping folders in step with an object store."""
