"""Announcing what happens to jobs: from the log into the outbox, and from there to the endpoints of owners."""
