"""Supervised fine-tuning: the published one-shot recipe and low-rank SFT."""
