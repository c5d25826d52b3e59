"""Recipes in, published files out."""
