"""Floor 1: what a record is, its bytes and its meaning. Pure: no clock, chance, files or sockets."""
