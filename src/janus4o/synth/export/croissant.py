"""croissant.json: what an export holds, as MLCommons' Croissant 1.0 describes data sets.

It is also the export's list of files, and comes after all of them: an export without it is unfinished.
"""

from __future__ import annotations

import json
from typing import Any

from janus4o.synth.export import pairs
from janus4o.synth.export.parts import Part

KINDS = {
    ".parquet": "application/x-parquet",
    ".tar": "application/x-tar",
    ".json": "application/json",
}
TABLES = ("parquet", "pairs")
"""Forms that are Parquet files."""
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        key: f"cr:{key}"
        for key in (
            "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty",
            "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
            "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
            "separator", "source", "subField", "transform",
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "sc": "https://schema.org/",
}  # fmt: skip


def describe(
    name: str, form: str, parts: dict[str, list[Part]], description: str, provenance: bool
) -> bytes:
    """The file's content; the same parts give the same bytes.

    Args:
        form: "sharegpt", "parquet", "webdataset" or "pairs".
        parts: family → its files.
    """
    sets: list[dict[str, Any]] = []
    records = []
    for family, files in parts.items():
        # Of rows spread over the members of a tar the format's own reader makes nothing.
        if form == "webdataset" or not files:
            continue
        where = {"fileObject": {"@id": f"{family}.json"}}
        if form in TABLES:
            group = f"{family}-files"
            where = {"fileSet": {"@id": group}}
            sets.append(
                {
                    "@type": "cr:FileSet",
                    "@id": group,
                    "name": group,
                    "encodingFormat": KINDS[".parquet"],
                    "includes": f"{family}-*.parquet",
                }
            )
        fields = [
            _field(family, column, kind, repeated, form, where)
            for column, kind, repeated in _columns(family, form, provenance)
        ]
        records.append({"@type": "cr:RecordSet", "@id": family, "name": family, "field": fields})
    found = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "distribution": [*(_file(one) for files in parts.values() for one in files), *sets],
        "recordSet": records,
    }
    return (json.dumps(found, ensure_ascii=False, indent=1) + "\n").encode()


def _file(part: Part) -> dict[str, Any]:
    kind = KINDS[part.name[part.name.rindex(".") :]]
    return {
        "@type": "cr:FileObject",
        "@id": part.name,
        "name": part.name,
        "contentUrl": part.name,
        "contentSize": f"{part.size} B",
        "encodingFormat": kind,
        "sha256": part.sha256,
    }


def _columns(family: str, form: str, provenance: bool) -> list[tuple[str, str, bool]]:
    """(name, type, repeated) of what a row has."""
    if form == "pairs":
        types = {"text": "sc:Text", "picture": "sc:ImageObject", "pictures": "sc:ImageObject"}
        named = pairs.columns(family, provenance)
        return [(name, types[kind], kind == "pictures") for name, kind in named]
    picture = "sc:ImageObject" if form == "parquet" else "sc:Text"
    found = [("input_prompt", "sc:Text", False)]
    if family != "text_to_image":
        found += [("input_image", picture, True), ("input_image_resolution", "sc:Integer", True)]
    found += [("output_image", picture, False), ("output_image_resolution", "sc:Integer", True)]
    if provenance and form == "parquet":  # in JSON it is an object, which Croissant has no type for
        found.append(("provenance", "sc:Text", False))
    return found


def _field(
    family: str, column: str, kind: str, repeated: bool, form: str, where: dict[str, Any]
) -> dict[str, Any]:
    source = dict(where)
    if form in TABLES:
        source["extract"] = {"column": column}
        if kind == "sc:ImageObject":
            source["transform"] = {"jsonPath": "bytes"}
    else:
        source["extract"] = {"jsonPath": f"$[*].{column}"}
    found = {
        "@type": "cr:Field",
        "@id": f"{family}/{column}",
        "name": column,
        "dataType": kind,
        "source": source,
    }
    return found | ({"repeated": True} if repeated else {})
