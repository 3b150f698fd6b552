"""The published tables for any local checkpoint: model, attack and recipe, one row at a time."""
