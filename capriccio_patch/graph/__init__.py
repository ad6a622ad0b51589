"""Where threads wait, and what they use between one such place and the next."""
