"""Records and abstract classes: what the rooms of the package agree on.  No behaviour."""
