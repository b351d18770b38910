"""One self-contained page about a run, made of its finished files only."""
