"""What a run hands on is written line by line: it need not fit into memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from janus4o.recipe import Recipe
from janus4o.rows import ROWS_FILE, open_rows
from janus4o.synth.dataset import PROVENANCE_FILE, write_dataset
from janus4o.synth.runner import run, wanted_rows
from janus4o.synth.store import Store

Make = Callable[..., Recipe]


def test_the_data_set_is_written_in_a_fraction_of_its_size(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    recipe = make_recipe(600, 200, concurrency=16)
    run(recipe, tmp_path, teacher(few=10**6), teacher(few=10**6))
    size = (tmp_path / ROWS_FILE).stat().st_size
    before = (tmp_path / ROWS_FILE).read_bytes(), (tmp_path / PROVENANCE_FILE).read_bytes()
    store = Store(tmp_path)
    tracemalloc.start()
    try:
        assert write_dataset(store, wanted_rows(recipe)) == 800
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        store.close()
    assert most < size / 2, f"{most} bytes for a file of {size}"
    again = (tmp_path / ROWS_FILE).read_bytes(), (tmp_path / PROVENANCE_FILE).read_bytes()
    assert again == before


def test_every_row_has_its_calls_in_order(tmp_path: Path, make_recipe: Make, teacher: type) -> None:
    run(make_recipe(8, 6), tmp_path, teacher(), teacher())
    histories = [json.loads(line) for line in (tmp_path / PROVENANCE_FILE).read_text().splitlines()]
    assert [one["id"] for one in histories] == [
        row.provenance.id for row in open_rows(tmp_path) if row.provenance is not None
    ]
    for one in histories:
        answered = [call["stage"] for call in one["calls"] if call["status"] == "ok"]
        assert answered in (["write", "paint"], ["source.write", "source.paint", "write", "paint"])
