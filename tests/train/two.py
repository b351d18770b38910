"""Trains a tiny model on a recipe in one of several processes; run by torchrun from test_ranks.py."""

import sys

from janus4o.cli import app

sys.exit(app.main(sys.argv[1:]))
