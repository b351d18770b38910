"""The Janus network: its weights, its sizes, how pictures and words become its input."""
