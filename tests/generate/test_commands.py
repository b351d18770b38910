"""`janus4o generate`, `edit` and `describe` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from janus4o.cli.app import main
from janus4o.generate.api import Janus
from janus4o.images import read_metadata
from janus4o.model.loading import save_model


@pytest.fixture(scope="module")
def checkpoint(janus: Janus, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    save_model(janus.model, folder)
    return str(folder)


def test_pictures_say_how_they_were_made(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a blue square\n\n", encoding="utf-8")
    line = ["generate", "a red circle", "--prompts", str(prompts), "-n", "2", "--seed", "4"]
    line += ["--model", checkpoint, "--out", str(tmp_path / "out")]
    assert main([*line, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["prompt"], one["seed"]) for one in listed] == [
        (prompt, seed) for prompt in ("a red circle", "a blue square") for seed in (4, 5)
    ]
    inside = read_metadata(listed[1]["file"])
    assert (inside["prompt"], inside["seed"], inside["model"]) == ("a red circle", "5", checkpoint)
    assert main(line) == 0
    again = capsys.readouterr().out.splitlines()
    assert not set(again) & {one["file"] for one in listed}, "a picture was overwritten"
    assert Path(again[0]).read_bytes() == Path(listed[0]["file"]).read_bytes()


def test_edit_and_describe(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--model", checkpoint, "--out", str(tmp_path)]
    assert main(["generate", "a red circle", *out]) == 0
    source = capsys.readouterr().out.strip()
    assert main(["edit", source, source, "make it blue", "--semantic-weight", "1", *out]) == 0
    inside = read_metadata(capsys.readouterr().out.strip())
    assert inside["prompt"] == "make it blue"
    assert inside["semantic_weight"] == "1"
    assert inside["sources"].splitlines() == [Path(source).name] * 2
    line = ["describe", source, "what is this", "--model", checkpoint, "--longest", "3"]
    assert main([*line, "--json"]) == 0
    assert "answer" in json.loads(capsys.readouterr().out)


def test_unknown_words_and_special_tokens_are_warned_about(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["generate", "a red zebra <|User|>", "--model", checkpoint, "--out", str(tmp_path)]
    assert main(line) == 0
    warned = capsys.readouterr().err
    assert "does not know the words: zebra\n" in warned
    assert "<|User|>" in warned


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["generate"], 2, "no prompt"),
        (["generate", " "], 3, "the prompt is empty"),
        (["generate", "a", "--prompts", "nowhere.txt"], 3, "cannot read 'nowhere.txt'"),
        (["generate", "a", "--model", "nowhere"], 3, "no checkpoint folder"),
        (["edit", "make it blue"], 2, "needs a source picture"),
        (["edit", "nowhere.png", "make it blue"], 3, "nowhere.png"),
        (["edit", __file__, "make it blue"], 3, "not a PNG"),
        (["edit", "nowhere.png", __file__], 2, "is a file"),
        (["generate", "a", "--guidance", "-1"], 2, "guidance = -1"),
        (["generate", "a", "--temperature", "nan"], 2, "temperature = nan"),
        (["describe", __file__, "what is this"], 3, "not a PNG"),
        (["describe", "nowhere.png", ""], 3, "the question is empty"),
    ],
)
def test_bad_input_is_one_line_with_its_remedy(
    line: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == code
    told = capsys.readouterr().err
    assert said in told
    assert " → " in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("case", ["17 sources", "too many pixels"])
def test_sources_that_cannot_be_are_one_line_and_leave_no_file(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side = 20_000 if case == "too many pixels" else 1
    source = tmp_path / "source.png"
    Image.new("1", (side, side)).save(source)
    sources = [str(source)] * (17 if case == "17 sources" else 1)
    out = tmp_path / "out"
    assert main(["edit", *sources, "paint the circle blue", "--out", str(out)]) == 3
    told = capsys.readouterr().err
    assert ("17 source pictures" if case == "17 sources" else "has too many pixels") in told
    assert " → " in told
    assert told.count("\n") == 1
    assert not out.exists() or not list(out.iterdir())


def test_weights_and_speculation_from_the_command_line(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["generate", "a red circle", "--model", checkpoint, "--json", "--out", str(tmp_path)]

    def made(*more: str) -> dict[str, object]:
        assert main([*line, *more]) == 0
        (one,) = json.loads(capsys.readouterr().out)
        return dict(one)

    plain = made("--weights", "plain")
    guessed = made("--speculate", "6")
    pixels = [Image.open(str(one["file"])).tobytes() for one in (plain, guessed)]
    assert pixels[0] == pixels[1]
    small = made("--weights", "int8", "--dtype", "bfloat16")
    assert small["weights"] == "int8"
    assert "weights" not in plain
    assert main([*line, "--weights", "int8"]) == 2
    assert "use dtype bfloat16" in capsys.readouterr().err
    assert main([*line, "--speculate", "0"]) == 2
