"""How rows of the wrappers' tables are chosen, applied and undone."""
