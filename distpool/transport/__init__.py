"""How messages travel: lanes to workers of this machine, and the mailbox between threads."""
