"""Pure statistics of drift (numpy and scipy only)."""
