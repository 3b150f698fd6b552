"""Chat models on disk and in memory: load, change, write."""
