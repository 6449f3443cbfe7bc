"""What the roles decide with. No I/O, no clock, no randomness: time comes in, decisions go out."""
