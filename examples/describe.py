"""Asks about a picture: python examples/describe.py [PICTURE] [QUESTION]"""

import sys

import janus4o
from janus4o.images import open_image

QUESTIONS = ["what is in the picture?", "how many objects are there?"]

model = janus4o.load("sketch-base")
picture = (
    open_image(sys.argv[1])
    if len(sys.argv) > 1
    else model.generate(["a green star"], guidance=1.0, seed=0)[0].image
)
for question in sys.argv[2:] or QUESTIONS:
    print(f"{question} {model.describe(picture, question)}")
