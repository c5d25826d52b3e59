"""What is done once per model or repository."""
