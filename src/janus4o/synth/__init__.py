"""Makes the data set: what to ask for, asking, checking, keeping, exporting."""
