"""From a drifted checkpoint and evidence to a better, verified checkpoint."""
