"""Shared memory for large values: where their bytes are written, mapped, and put on disk."""
