"""Values in shared memory: how they are laid out, who keeps them, and the references that name them.

value ── pickle ──► Parts ── write ──► segment ◄── Home (of the process that owns the store: limits, holders, disk)
value ◄── load, mapped as a private copy ────┘ ◄── RemoteStore (a worker's side: asks its home by a lane)
"""
