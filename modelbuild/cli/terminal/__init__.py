"""What people see: progress on standard error, a table and diagnostics at the end."""
