"""Floor 2: who goes next. One policy, one file, one paper; schedulers know sessions, not SQL."""
