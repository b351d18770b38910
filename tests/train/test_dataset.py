"""Which rows a step takes follows from (seed, step) alone; each epoch takes every row once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus4o.errors import DataError
from janus4o.train.batch import Kind
from janus4o.train.dataset import Dataset, rows_of_step


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(-5, 5))
def test_every_epoch_takes_every_row_once(rows, batch, seed):
    steps = -(-3 * rows // batch)
    stream = np.concatenate([rows_of_step(step, batch, rows, seed) for step in range(steps)])
    assert len(stream) == steps * batch
    for epoch in range(3):
        assert sorted(stream[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


def test_epochs_and_seeds_differ():
    orders = [rows_of_step(step, 50, 50, seed).tolist() for step in (0, 1) for seed in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_examples_hold_the_codes_and_pictures_of_their_row(codes, fresh_model):
    data = Dataset(codes, fresh_model())
    assert len(data) == 16
    for index, row in enumerate(codes.rows):
        one = data[index]
        assert one.target_codes.tolist() == codes.codes_PT[row.target].tolist()
        if row.sources:
            assert one.kind is Kind.EDIT
            assert one.source_codes.tolist() == codes.codes_PT[row.sources[0]].tolist()
            assert np.array_equal(one.pictures[0], codes.picture(row.sources[0]))
        else:
            assert one.kind is Kind.TEXT_TO_IMAGE


def test_codes_of_another_tokenizer_are_refused(codes, fresh_model):
    with pytest.raises(DataError, match="do not belong to this model"):
        Dataset(codes, fresh_model(seed=1))


def test_a_text_that_does_not_fit_costs_its_row(codes, fresh_model):
    from dataclasses import replace

    long = replace(codes.rows[0], prompt="a " * 2000)
    data = Dataset(replace(codes, rows=(long, *codes.rows[1:])), fresh_model())
    assert len(data) == 15
    assert data.problems[0].startswith("row 0: ")
