"""Floor 3: the daemon. Sockets, files, the clock, the page and the commands."""

__version__ = "0.1.0"
"""The one place of the version; packaging reads it here. The version of the wire is apart."""
