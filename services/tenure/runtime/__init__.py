"""What every program needs: clock, ids, settings, log records, stopping. A leaf: imports nothing of ours."""
