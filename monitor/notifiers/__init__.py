"""Channels that notifications go out by, each a plugin of the group ``alignd.notifiers``."""
