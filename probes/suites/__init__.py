"""The project's own prompt suites and readers for public formats."""
