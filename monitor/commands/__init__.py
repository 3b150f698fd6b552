"""Commands of ``alignd`` that have a file of their own."""
