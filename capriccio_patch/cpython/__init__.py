"""All that knows CPython's layout or private names; nothing else in the package does."""
