"""Adapters of the port ``Store``."""
