"""Pure statistics of drift (numpy only)."""
