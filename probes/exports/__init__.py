"""Results in the forms that other tools read. Pure: each takes results and returns what is to be written."""
