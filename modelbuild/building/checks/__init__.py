"""What a look at the files and the machine shows of a recipe, before any of its code runs."""
