"""The worker: runs jobs on a machine and keeps their folders in step with an object store."""
