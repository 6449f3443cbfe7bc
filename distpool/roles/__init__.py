"""What each kind of process decides: wiring between messages and logic, without I/O."""
