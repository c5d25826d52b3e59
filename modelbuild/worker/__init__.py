"""Both ends of the child processes: a server that forks, and the parent's handle on it."""
