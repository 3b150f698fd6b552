"""What is served: checkpoints, releases and the ways to change them safely."""
