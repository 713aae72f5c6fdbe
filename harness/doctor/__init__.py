"""The ON CONFLICT adviser: which index arbitrates a statement, and if none does, why, and what repairs it."""
