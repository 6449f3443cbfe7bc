"""Values to bytes and back, functions that are sent once, and exceptions with their remote traceback."""
