"""Groups of commands, one module each; ``monitor.cli`` puts them together."""
