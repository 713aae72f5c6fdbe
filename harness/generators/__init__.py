"""Floor 2: what to run. Contests for small scopes, enumerated in full; no sockets, no clocks."""
