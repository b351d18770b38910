"""Checks of a finished data set, made here or taken in: each gives every row a figure and a verdict."""
