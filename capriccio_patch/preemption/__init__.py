"""Having a thread that does not wait let others run, or telling of it."""
