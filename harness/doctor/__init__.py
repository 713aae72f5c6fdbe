"""The doctor: which index arbitrates an ON CONFLICT, and if none, why."""
