"""Floor 4: contest + server -> outcomes. The explorer takes one step at a time."""
