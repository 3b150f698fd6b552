"""Mutated inputs, and what has to become of each: no crash, no wrong verdict, no hang.

``python -m tests.mutations --inputs 10000 --seed 0`` feeds them and names each bad one by kind and seed;
``python -m tests.mutations --only replies/0/17`` feeds that one again.
"""
