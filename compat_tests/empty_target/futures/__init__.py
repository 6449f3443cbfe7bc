"""The same in place of `concurrent.futures`."""
