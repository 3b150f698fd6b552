"""Task suites with an exact checker: what a customer's model must still be able to do."""
