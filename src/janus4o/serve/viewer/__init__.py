"""A data set as pages of this machine: every row, its pictures, and what was said of it."""
