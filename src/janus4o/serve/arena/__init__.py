"""The page people vote on, served from this machine or exported as files."""
