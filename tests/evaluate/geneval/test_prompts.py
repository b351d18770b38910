"""Official metadata, prompt files and folders: read as they are, and what is wrong is named."""

import json
import os

import pytest

from janus4o.errors import DataError
from janus4o.evaluate.geneval.prompts import (
    parse_metadata,
    prompt_set_hash,
    read_folder,
    read_prompts,
    write_prompt_folder,
)

BENCH = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a bench"}
RIGHT = {
    "tag": "position",
    "include": [
        {"class": "dog", "count": 1},
        {"class": "cat", "count": 1, "color": "red", "position": ["right of", 0]},
    ],
    "exclude": [{"class": "cat", "count": 3}],
    "prompt": "a red cat right of a dog",
    "our own": 1,
}


def test_an_object_keeps_what_it_does_not_know():
    metadata = parse_metadata(RIGHT)
    assert metadata.include[1].position == ("right of", 0)
    assert metadata.include[1].colour == "red"
    assert metadata.exclude[0].count == 3
    assert json.loads(metadata.text) == RIGHT
    assert metadata.doubts() == []


@pytest.mark.parametrize(
    "change",
    [
        {"tag": None},
        {"prompt": 3},
        {"include": {"class": "dog", "count": 1}},
        {"include": ["dog"]},
        {"include": [{"class": "dog"}]},
        {"include": [{"class": "dog", "count": "2"}]},
        {"include": [{"class": "dog", "count": -1}]},
        {"include": [{"class": "dog", "count": 1, "color": 7}]},
        {"include": [{"class": "dog", "count": 1, "position": ["above", 0]}]},
        {"include": [{"class": "dog", "count": 1, "position": "above"}]},
        {"exclude": [{"count": 2}]},
    ],
)
def test_what_the_rules_would_stumble_over_is_refused(change):
    with pytest.raises(DataError):
        parse_metadata({**RIGHT, **change})


def test_what_can_never_be_met_is_said():
    data = {**RIGHT, "include": [*RIGHT["include"]]}
    data["include"][1] = {"class": "cat", "count": 1, "color": "teal", "position": ["behind", 0]}
    assert len(parse_metadata(data).doubts()) == 2


def test_a_prompt_file_lists_its_bad_lines(tmp_path):
    path = tmp_path / "evaluation_metadata.jsonl"
    lines = [json.dumps(BENCH), "", "[1]", json.dumps({**BENCH, "tag": 1}), json.dumps(RIGHT)[:40]]
    path.write_text("\n".join(lines))
    prompts, problems = read_prompts(path)
    assert [one.prompt for one in prompts] == ["a bench"]
    assert sorted(problem.where[-1] for problem in problems) == ["3", "4", "5"]


def test_the_hash_is_of_what_is_asked():
    bench, right = parse_metadata(BENCH), parse_metadata(RIGHT)
    turned = parse_metadata(dict(reversed(BENCH.items())))
    assert prompt_set_hash([bench, right]) == prompt_set_hash([right, turned, bench])
    assert prompt_set_hash([bench]) != prompt_set_hash([right])


def test_the_official_folder_is_written_and_read_back(tmp_path):
    prompts = [parse_metadata(BENCH), parse_metadata(RIGHT)]
    for index, metadata in enumerate(prompts):
        place = write_prompt_folder(tmp_path, index, metadata)
        for number in range(2):
            (place / f"{number:05}.png").write_bytes(b"x")
    samples, problems = read_folder(tmp_path, prompts, per_prompt=2)
    assert not problems
    assert [s.id for s in samples] == ["00000/00000", "00000/00001", "00001/00000", "00001/00001"]
    assert samples[2].metadata == prompts[1]
    # As the original writes it: one document, no newline.
    assert (tmp_path / "00000" / "metadata.jsonl").read_text() == json.dumps(BENCH)


def test_everything_odd_about_a_folder_is_listed(tmp_path):
    prompts = [parse_metadata(BENCH), parse_metadata(RIGHT), parse_metadata(BENCH)]
    good = write_prompt_folder(tmp_path, 0, prompts[1])  # another prompt than the file's first
    for name in ("0000.png", "0001.png.bak", "grid.jpg"):
        (good / name).write_bytes(b"x")
    write_prompt_folder(tmp_path, 1, prompts[1])  # no picture
    (tmp_path / "00007" / "samples").mkdir(parents=True)  # no metadata
    (tmp_path / "notes.txt").write_text("x")
    samples, problems = read_folder(tmp_path, prompts, per_prompt=4)
    assert [s.id for s in samples] == ["00000/0000"]
    listed = {problem.where: problem for problem in problems}
    assert listed.keys() == {
        "00000",
        "00000/samples/0001.png.bak",
        "00000/samples/grid.jpg",
        "00001",
        "00002",
        "00007/metadata.jsonl",
        "notes.txt",
    }
    assert listed["00001"].unscored
    assert listed["00002"].unscored
    assert not listed["notes.txt"].unscored


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no picture"):
        read_folder(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        read_folder(tmp_path / "a.png")


def test_the_official_files_where_they_are(root):
    """Runs against a copy of the benchmark's own files, which are not part of this repository."""
    where = os.environ.get("JANUS4O_GENEVAL")
    if not where:
        pytest.skip("set JANUS4O_GENEVAL to a folder with evaluation_metadata.jsonl")
    from pathlib import Path

    from janus4o.evaluate.geneval.classes import CLASSES, TAGS
    from janus4o.evaluate.geneval.prompts import OFFICIAL_PROMPTS

    prompts, problems = read_prompts(Path(where) / "evaluation_metadata.jsonl")
    assert not problems
    assert len({one.text for one in prompts}) == 553
    assert prompt_set_hash(prompts) == OFFICIAL_PROMPTS
    assert tuple(dict.fromkeys(one.tag for one in prompts)) == TAGS
    assert not [doubt for one in prompts for doubt in one.doubts()]
    names = (Path(where) / "object_names.txt").read_text().split("\n")
    assert tuple(name for name in names if name) == CLASSES
