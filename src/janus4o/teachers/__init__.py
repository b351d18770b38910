"""Teachers behind an API: one file a vendor; HTTP clients live only here."""
