"""Where processes, threads and the loop live: the only layer that does I/O on its own."""
