"""The geometry of safety gradients: capture, factor, step, apply, and a sketch of many."""
