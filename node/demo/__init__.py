"""The demonstration: towns on one machine, filled with real data, cut apart and healed."""
