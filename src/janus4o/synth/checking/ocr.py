"""Reads text in pictures with RapidOCR (Apache-2.0), whose wheel brings its networks: nothing is downloaded."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from janus4o.errors import Refused

MODELS = {"Det": "*_det_*.onnx", "Cls": "*_cls_*.onnx", "Rec": "*_rec_*.onnx"}
"""Stage → the file of the wheel that it uses."""


class RapidReader:
    """Speaks `seeing.Reader`.

    Raises:
        Refused: the package is not there, or comes without its networks.
    """

    heavy = True

    def __init__(self) -> None:
        try:
            package = importlib.import_module("rapidocr")
            importlib.import_module("onnxruntime")
            from importlib.metadata import version

            self.name = f"rapidocr {version('rapidocr')}"
        except ImportError as error:
            raise Refused(
                f"text in pictures is read by RapidOCR, which is not installed ({error.name})",
                "pip install 'janus4o[ocr]'",
            ) from None
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)  # it tells of every blank picture
        folder = Path(str(package.__file__)).parent / "models"
        # Named one by one: a file it does not find it would download.
        params: dict[str, Any] = {"Global.log_level": "error"}
        for stage, pattern in MODELS.items():
            found = sorted(folder.glob(pattern))
            if not found:
                raise Refused(
                    f"rapidocr has no {pattern} in {folder.name}/", "pip install -U 'janus4o[ocr]'"
                )
            params[f"{stage}.model_path"] = str(found[0])
        self._engine: Any = package.RapidOCR(params=params)
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[RapidReader], tuple[()]]:
        """Sent to another machine it is made there anew."""
        return RapidReader, ()

    def read(self, image: Image.Image) -> list[str]:
        """Lines of text, as the library orders them: from the top down, from left to right."""
        pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"), np.uint8)[..., ::-1])
        with self._lock:  # one picture takes all cores it may have
            found = self._engine(pixels)
        return [str(text) for text in found.txts or ()]
