"""The command line: one file per verb. It parses, wires the parts together and prints."""
