"""What the machine is, and what a process on it may use."""
