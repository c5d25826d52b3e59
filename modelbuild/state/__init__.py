"""What a build with nothing to do reads: a state file per recipe."""
