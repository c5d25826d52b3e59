"""Recipes: what to build, read from YAML.

``loading.load`` reads a file, ``loading.parse`` a text (from a git revision, say), ``finding.find``
the files that command line arguments name; ``defaults`` are those of the project file, and
``resolving`` writes all of them out. Whatever is wrong comes as one ``RecipeError`` that
holds every mistake with its place. Nothing here imports torch, onnx or numpy, and nothing runs
code that a recipe names. Import the module you need: a build with nothing to do finds its recipes
without yaml and pydantic.
"""
