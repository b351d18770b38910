"""How one sample is made, a file for each pipeline of the paper."""
