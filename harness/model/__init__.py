"""Floor 0: the plain values everything else speaks in. Standard library only, no sockets, no clocks."""
