"""Chat models on disk and in memory: load, change, write; what every recipe does before and after its own work."""
