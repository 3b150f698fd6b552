"""Commands of ``alignd``, a module for each group: parse, call, render."""
