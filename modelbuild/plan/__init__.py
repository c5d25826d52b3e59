"""A recipe as actions, and whether what is known of them still holds. Pure."""
