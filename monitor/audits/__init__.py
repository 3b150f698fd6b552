"""Audits: what a target's served release does on sealed prompts, and what was done about it in a period."""
