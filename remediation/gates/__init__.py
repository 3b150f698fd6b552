"""The gates, one by one: what each measures, its limit, and its word. Pure."""
