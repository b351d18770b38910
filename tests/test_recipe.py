"""Recipes: wrong ones are refused in one line that names the key; ids depend on content alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from janus4o import recipe
from janus4o.cli import app
from janus4o.errors import RecipeError


def written(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def shipped(root: Path) -> list[Path]:
    """All recipes of runs; `reproduce.yaml` is a plan of another kind (tests/evaluate/test_reproduce.py)."""
    paths = sorted((root / "recipes").glob("*.yaml"))
    return [path for path in paths if path.name != "reproduce.yaml"]


def test_every_shipped_recipe_is_valid(root: Path) -> None:
    paths = shipped(root)
    assert paths
    for path in paths:
        assert recipe.load(path).name


def test_name_and_folder_come_from_the_file_where_not_given(tmp_path: Path) -> None:
    loaded = recipe.load(written(tmp_path, "seed: 3"))
    assert (loaded.name, loaded.seed, loaded.folder) == ("small", 3, Path("runs/small"))
    assert recipe.parse({"name": "a", "output": "elsewhere"}).folder == Path("elsewhere")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("trian: {}", "unknown key 'trian' (did you mean 'train'?)"),
        ("train: {stpes: 5}", "unknown key 'train.stpes' (did you mean 'steps'?)"),
        ("synthesis: {text_to_image: {cuont: 5}}", "synthesis.text_to_image.cuont"),
        ("train: {batch: many}", "train.batch = 'many'"),
        ("train: {batch: 1.5}", "train.batch"),
        ("train: {rate: -1.0}", "train.rate"),
        ("synthesis: {text_to_image: {colour: 1.2}}", "synthesis.text_to_image.colour"),
        ("name: ../escape", "name"),
        ("teachers: {painter: dall-e-3}", "teachers.painter"),
        ("train: [1, 2]", "train"),
        ("just words", "must be a mapping"),
        ("a: [1", "not valid YAML at line"),
        ("seed: ${JANUS4O_TEST_UNSET}", "needs ${JANUS4O_TEST_UNSET}"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load(written(tmp_path, text))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.yaml' does not exist"):
        recipe.load(tmp_path / "absent.yaml")


def test_overrides_change_one_value_and_no_other(tmp_path: Path) -> None:
    path = written(tmp_path, "train: {batch: 4, steps: 10}")
    plain = recipe.load(path)
    changed = recipe.load(path, ["train.steps=20", "evaluate.guidance=[2.0]", "output=null"])
    assert changed.train.steps == 20
    assert changed.evaluate.guidance == [2.0]
    assert changed.train.model_copy(update={"steps": 10}) == plain.train
    assert changed.synthesis == plain.synthesis


@pytest.mark.parametrize("number", ["2e-3", "2E-3", "2.0e-3", "0.002"])
def test_a_rate_may_be_written_as_people_write_it(tmp_path: Path, number: str) -> None:
    path = written(tmp_path, f"train: {{rate: {number}}}")
    assert recipe.load(path).train.rate == 0.002
    assert recipe.load(path, [f"train.rate={number}"]).train.rate == 0.002
    assert recipe.load(path, ["name=2e3rd"]).name == "2e3rd"


@pytest.mark.parametrize("override", ["train.steps", "=3", "name.deeper=1", "train.steps=[", "x=1"])
def test_a_wrong_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(RecipeError):
        recipe.load(written(tmp_path, "name: plain"), [override])


def test_the_environment_fills_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JANUS4O_TEST_SEED", "17")
    assert recipe.load(written(tmp_path, "seed: ${JANUS4O_TEST_SEED}")).seed == 17


@pytest.mark.parametrize(
    "override",
    [
        "synthesis.text_to_image.count=99999",
        "synthesis.editing.count=0",
        "synthesis.concurrency=1",
        "synthesis.budget_usd=3.0",
        "train.steps=7",
        "evaluate.seed=5",
        "model.init=random",
        "output=elsewhere",
        "name=other",
    ],
)
def test_counts_limits_and_training_do_not_change_what_a_sample_is(override: str) -> None:
    assert overridden(override).content() == overridden().content()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "synthesis.world=rich",
        "synthesis.hold_out=false",
        "synthesis.text_to_image.category_decay=0.5",
        "synthesis.editing.tasks={background_modification: 1.0}",
        "teachers.size=[256, 256]",
    ],
)
def test_everything_that_shapes_a_sample_does(override: str) -> None:
    assert overridden(override).content() != overridden().content()


def overridden(*overrides: str) -> recipe.Recipe:
    data: dict[str, Any] = {"name": "plain"}
    for override in overrides:
        key, _, value = override.partition("=")
        *parents, last = key.split(".")
        place = data
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = yaml.safe_load(value)
    return recipe.parse(data)


def test_docs_name_every_key_and_no_other(root: Path) -> None:
    text = (root / "docs" / "recipe.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([a-z_.]+)` \|", text, flags=re.MULTILINE))
    servers = {f"server.{key}" for kind in SERVERS for key in keys_of(kind)}
    assert named == set(keys_of(recipe.Recipe)) | servers


SERVERS = (recipe.WriterServer, recipe.PainterServer)


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        options = (field.annotation, *getattr(field.annotation, "__args__", ()))
        inner = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if inner:
            yield from keys_of(inner[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_schema_for_editors_is_up_to_date(root):
    kept = json.loads((root / "recipes" / "schema.json").read_text("utf-8"))
    assert kept == recipe.json_schema(), "run: janus4o recipe schema > recipes/schema.json"


def test_the_schema_knows_every_key_of_every_shipped_recipe(root):
    schema = recipe.json_schema()

    def known(part, data, where):
        part = next((p for p in part.get("anyOf", ()) if "$ref" in p), part)
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        if "properties" not in part:
            return
        assert part["additionalProperties"] is False, where
        for key, value in data.items():
            assert key in part["properties"], f"{where}.{key}"
            known(part["properties"][key], value, f"{where}.{key}")

    for path in shipped(root):
        known(schema, yaml.safe_load(path.read_text("utf-8")), path.name)
    assert "name" not in schema["required"]


def test_check_prints_the_whole_recipe_and_says_what_is_wrong(tmp_path, capsys):
    path = tmp_path / "own.yaml"
    path.write_text("train: {steps: 3}\n")
    assert app.main(["recipe", "check", str(path), "train.batch=8"]) == 0
    whole = yaml.safe_load(capsys.readouterr().out)
    assert whole["train"]["steps"] == 3
    assert whole["train"]["batch"] == 8
    assert recipe.parse(whole) == recipe.load(path, ["train.batch=8"])
    assert app.main(["recipe", "check", str(path), "train.stepps=8"]) == 3
    assert "did you mean 'steps'" in capsys.readouterr().err


def test_a_folder_keeps_of_each_stage_the_recipe_it_was_made_by(tmp_path: Path) -> None:
    first = recipe.parse({"name": "a", "train": {"steps": 5, "rate": 1e-3}})
    recipe.keep(first, tmp_path, "name", "synthesis")
    assert recipe.load(tmp_path / recipe.KEPT) == first
    second = recipe.parse({"name": "b", "seed": 4, "train": {"steps": 9, "rate": 1e-3}})
    recipe.keep(second, tmp_path, "name", "seed")
    kept = recipe.load(tmp_path / recipe.KEPT)
    assert (kept.name, kept.seed, kept.train.steps) == ("b", 4, 5)
    recipe.keep(second.starting_from("random"), tmp_path, "model", "train")
    kept = recipe.load(tmp_path / recipe.KEPT)
    assert (kept.train.steps, kept.model.init) == (9, "random")


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"{a: [", b"- 1\n", b"7"])
def test_a_damaged_recipe_of_a_folder_is_replaced(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / recipe.KEPT).write_bytes(damage)
    wanted = recipe.parse({"name": "a"})
    recipe.keep(wanted, tmp_path, "train")
    assert recipe.load(tmp_path / recipe.KEPT) == wanted
