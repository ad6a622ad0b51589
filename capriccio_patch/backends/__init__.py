"""I/O schemes: for sockets and pipes, and for disks."""
