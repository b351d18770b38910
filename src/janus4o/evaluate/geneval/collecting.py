"""Puts a folder of pictures before the networks and keeps what they say, one line a picture.

The file is appended to picture by picture: a run that is stopped goes on where it was, and a
picture that failed is tried again. Scoring reads the file and asks nobody.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from janus4o.errors import DataError, ImageError
from janus4o.evaluate.evidence import Problem, read_lines, write_lines
from janus4o.evaluate.geneval.crops import crop, open_picture
from janus4o.evaluate.geneval.networks import ColourClassifier, Detector, Found
from janus4o.evaluate.geneval.prompts import Sample
from janus4o.evaluate.geneval.rules import Options, judge

Progress = Callable[[int, int], None]
"""(pictures done, pictures in all)."""


def collect(
    samples: Sequence[Sample],
    detector: Detector,
    classifier: ColourClassifier,
    out: Path,
    progress: Progress = lambda done, total: None,
) -> list[Problem]:
    """Appends the evidence of every picture that `out` does not hold yet.

    A line counts as held if the picture and its metadata are still the same; lines of what has
    changed are replaced, and so is a line that was cut off.

    Returns:
        Pictures that cannot be read, which have no line.

    Raises:
        DataError: `out` belongs to another folder or to other networks.
    """
    keys = {sample.id: _key(sample) for sample in samples}
    held = _held(out, keys, (detector.name, classifier.name))
    problems = []
    with out.open("a", encoding="utf-8") as file:
        for done, sample in enumerate(samples, 1):
            if sample.id not in held:
                try:
                    line = look(sample, detector, classifier)
                except (ImageError, DataError) as error:
                    problems.append(Problem(sample.id, error.message))
                    continue
                file.write(json.dumps({**line, "key": keys[sample.id]}) + "\n")
                file.flush()
            progress(done, len(samples))
    return problems


def look(sample: Sample, detector: Detector, classifier: ColourClassifier) -> dict[str, Any]:
    """The evidence of one picture, with the colours its verdict needs and no others.

    Raises:
        ImageError: the picture cannot be read.
        DataError: an object cannot be cut out.
    """
    image = open_picture(sample.path)
    found = detector.detect(image)
    colours: dict[str, list[str | None]] = {}

    def ask(name: str, indices: Sequence[int]) -> list[str]:
        crops = [_cut(image, found[name], index) for index in indices]
        answers = classifier.classify(crops, name)
        known = colours.setdefault(name, [None] * len(found[name].boxes))
        for index, answer in zip(indices, answers, strict=True):
            known[index] = answer
        return answers

    boxes = {name: one.boxes for name, one in found.items()}
    judge(sample.metadata, boxes, ask, detector.options)
    own = asdict(detector.options)
    options = {} if detector.options == Options() else {"options": own}
    return {
        "id": sample.id,
        "filename": str(sample.path),
        "image_size": list(image.size),
        "metadata": sample.metadata.data,
        "detections": {name: one.boxes.tolist() for name, one in found.items()},
        "colors": colours,
        **options,
        "detector": detector.name,
        "classifier": classifier.name,
    }


def _cut(image: Image.Image, found: Found, index: int) -> Image.Image:
    return crop(image, found.boxes[index].tolist(), found.mask(index))


def _key(sample: Sample) -> str:
    """Hash of what is looked at: the picture and what is asked of it."""
    try:
        picture = hashlib.sha256(sample.path.read_bytes()).hexdigest()
    except OSError:
        picture = "unreadable"
    return hashlib.sha256(f"{picture} {sample.metadata.text}".encode()).hexdigest()


def _held(out: Path, keys: dict[str, str], names: tuple[str, str]) -> set[str]:
    """Ids that need not be asked again; the file is left with whole, current lines only.

    Raises:
        DataError: the file holds what other networks said, or of other pictures. It may have been
            dear, so it is not touched.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists() or out.stat().st_size == 0:
        return set()
    lines, problems = read_lines(out)
    for line in lines:
        theirs = line.data.get("detector"), line.data.get("classifier")
        if theirs != names or line.data.get("id") not in keys:
            raise DataError(
                f"{line.where} is of another folder or other networks", "give another --out"
            )
    current = [line for line in lines if keys[line.data["id"]] == line.data.get("key")]
    if problems or len(current) < len(lines):
        write_lines(out, (line.data for line in current))
    return {line.data["id"] for line in current}
