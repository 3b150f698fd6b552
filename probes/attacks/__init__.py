"""Attacks: one file each, a behavior in, the messages to send out."""
