"""Judges: one file each, a probe and its completion in, a judgement out."""
