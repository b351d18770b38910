"""Blind votes of people on pictures of two or more systems, side by side."""
