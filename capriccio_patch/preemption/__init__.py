"""Having a thread that does not wait let others run, or reporting it."""
