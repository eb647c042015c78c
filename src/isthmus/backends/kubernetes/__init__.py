"""A cluster by its API server: watched objects to facts, statuses back. Nobody else speaks to it."""
