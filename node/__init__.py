"""Floor 3: the daemon. Sockets, files, the clock, the page and the commands."""
