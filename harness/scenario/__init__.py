"""Floor 1: the language scenario files are written in, and how such files are found and checked."""
