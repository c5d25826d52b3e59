"""What every sentence goes through on its way out: one escaper, one exit."""
