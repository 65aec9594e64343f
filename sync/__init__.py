"""Floor 2: how copies agree. Pure state machines and merge rules over the records of floor 1."""
