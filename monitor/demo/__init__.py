"""The demo: the whole loop on real parts, with what it did as a table and a report."""
