"""Floor 7: the command line. Nothing but words to calls, and results to text and exit codes."""
