"""Scores of pictures anyone made: questions in, verdicts and intervals out."""
