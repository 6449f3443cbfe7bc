"""What travels: the messages and their encoding."""
