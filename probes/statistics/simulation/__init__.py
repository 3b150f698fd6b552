"""What a way of watching finds and what it costs, by simulation: many paths at once (numpy only)."""
