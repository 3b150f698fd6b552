"""Targets: one file for each kind of endpoint that can be probed."""
