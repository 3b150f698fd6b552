"""Recipes, one plugin a file: what stands in a ladder, and the controls that it is held against."""
