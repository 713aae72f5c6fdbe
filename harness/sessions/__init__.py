"""Floor 3: one PostgreSQL session under control, and the hub that decides which one goes on."""
