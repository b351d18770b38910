"""Pictures and words out of a model."""
