"""Groups of commands of ``alignd``, one module each; the command line adds their apps."""
