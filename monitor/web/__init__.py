"""The daemon's HTTP API: who may call, what is said, and what is refused."""
