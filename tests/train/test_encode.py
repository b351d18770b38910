"""Each distinct picture is encoded once, whatever happens in between."""

import signal

import numpy as np
import pytest
import torch
from PIL import Image

from janus4o.errors import DataError, Interrupted
from janus4o.model import codebook
from janus4o.model.loading import save_model
from janus4o.model.preprocess import fit_image, to_pixel_values
from janus4o.train import encode
from janus4o.train.codes import codes_folder, open_codes, tokenizer_hash
from janus4o.train.encode import encode_rows
from janus4o.train.start import RANDOM, start_model, start_tokenizer

from .conftest import write_data_set


@pytest.fixture
def counted(monkeypatch):
    """Counts pictures that go through the tokenizer."""
    seen = []
    real = codebook.encode

    def encode_and_count(network, values):
        seen.append(len(values))
        return real(network, values)

    monkeypatch.setattr(encode.codebook, "encode", encode_and_count)
    return lambda: sum(seen)


def test_codes_are_those_of_the_fitted_picture(tmp_path, fresh_model):
    model, rows = fresh_model(), write_data_set(tmp_path)
    codes = encode_rows(rows, model, tmp_path / "codes")
    assert codes.codes_PT.dtype == np.int16
    row, coded = rows[-1], codes.rows[-1]
    assert row.is_edit
    target, source = (
        fit_image(Image.open(tmp_path / name), model.geometry, model.fit)
        for name in (row.output_image, row.input_image[0])
    )
    wanted = codebook.encode(model.network, to_pixel_values(np.stack([target])))
    assert codes.codes_PT[coded.target].tolist() == wanted[0].tolist()
    assert np.array_equal(codes.picture(coded.sources[0]), source)
    assert coded.prompt == row.input_prompt


def test_codes_do_not_depend_on_the_dtype_weights_are_held_in(tmp_path, fresh_model):
    model = fresh_model()
    book = model.network.model.vqmodel.quantize.embedding.weight
    book.data = book * torch.linspace(0.5, 1.5, len(book))[:, None]  # as stored by others
    save_model(model, tmp_path / "init", torch.bfloat16)
    held, exact = (start_model(str(tmp_path / "init"), "crop", stored=s) for s in (True, False))
    assert held.network.lm_head.weight.dtype == torch.bfloat16
    wanted = exact.network.model.vqmodel.state_dict()
    for name, tensor in held.network.model.vqmodel.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name


def test_a_tokenizer_read_alone_gives_the_same_codes(tmp_path, fresh_model):
    model = fresh_model()
    book = model.network.model.vqmodel.quantize.embedding.weight
    book.data = book * torch.linspace(0.5, 1.5, len(book))[:, None]  # as stored by others
    rows = write_data_set(tmp_path)
    for form in ("transformers", "official"):
        save_model(model, tmp_path / form, torch.bfloat16, form)
        whole = start_model(str(tmp_path / form), "crop", stored=True)
        alone = start_tokenizer(str(tmp_path / form), "crop")
        assert alone.network.lm_head.weight.is_meta
        one = encode_rows(rows, whole, tmp_path / f"whole-{form}")
        other = encode_rows(rows, alone, tmp_path / f"alone-{form}", devices=[whole.device])
        assert rows_of(one) == rows_of(other)
        index = (one.folder / "index.json").read_text()
        assert (other.folder / "index.json").read_text() == index
        assert one.folder.name == other.folder.name


def test_a_random_model_is_encoded_with_the_bases_tokenizer():
    drawn, alone = start_model(RANDOM, "crop"), start_tokenizer(RANDOM, "crop")
    assert tokenizer_hash(drawn) == tokenizer_hash(alone)
    assert (drawn.name, drawn.geometry) == (alone.name, alone.geometry)


def test_a_picture_many_rows_use_is_encoded_once_and_a_second_run_does_nothing(
    tmp_path, fresh_model, counted
):
    rows = write_data_set(tmp_path, drawn=2, edits=6)
    encode_rows(rows, fresh_model(), tmp_path / "codes")
    assert counted() == 2 + 6
    encode_rows(rows, fresh_model(), tmp_path / "codes")
    assert counted() == 2 + 6


def test_equal_pictures_under_other_names_are_encoded_once(tmp_path, fresh_model, counted):
    write_data_set(tmp_path, drawn=3, edits=0)
    for number in (1, 2):
        (tmp_path / f"image/{number}.png").write_bytes((tmp_path / "image/0.png").read_bytes())
    codes = encode_rows(write_data_set(tmp_path, 3, 0), fresh_model(), tmp_path / "codes")
    assert counted() == 1
    assert len({codes.codes_PT[row.target].tobytes() for row in codes.rows}) == 1


def rows_of(codes):
    """What training sees of each row."""
    return [
        (
            row.prompt,
            codes.codes_PT[row.target].tolist(),
            [(codes.codes_PT[s].tolist(), codes.picture(s).tolist()) for s in row.sources],
        )
        for row in codes.rows
    ]


@pytest.mark.parametrize("pictures", [0, 1, 3, 4, 5, 9])
def test_a_stopped_run_keeps_what_is_encoded_and_goes_on(
    pictures, tmp_path, fresh_model, counted, monkeypatch
):
    monkeypatch.setattr(encode, "AT_ONCE", 2)
    monkeypatch.setattr(encode, "SHARD_BYTES", 4 * 32 * 32 * 3)
    rows, model = write_data_set(tmp_path), fresh_model()
    whole = encode_rows(rows, model, tmp_path / "whole")
    with pytest.raises(Interrupted, match="stopped after"):
        encode_rows(rows, model, tmp_path / "cut", stop=lambda: counted() >= 16 + pictures)
    with pytest.raises(DataError, match="no finished codes"):
        open_codes(codes_folder(tmp_path / "cut", model))
    cut = encode_rows(rows, model, tmp_path / "cut")
    assert counted() == 2 * 16  # nothing twice
    assert rows_of(cut) == rows_of(whole)


def test_how_many_encode_side_by_side_changes_no_byte(tmp_path, fresh_model, monkeypatch):
    monkeypatch.setattr(encode, "AT_ONCE", 2)
    rows, model = write_data_set(tmp_path), fresh_model()
    folders = {
        count: encode_rows(
            rows, model, tmp_path / str(count), devices=[torch.device("cpu")] * count
        ).folder
        for count in (1, 3)
    }
    one, three = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders.values()
    )
    assert one == three


def test_ctrl_c_keeps_what_is_encoded(tmp_path, fresh_model, counted, monkeypatch):
    monkeypatch.setattr(encode, "AT_ONCE", 2)
    rows, model = write_data_set(tmp_path), fresh_model()

    pressed = []

    def press(done: int, _total: int) -> None:
        if done == 4 and not pressed:
            pressed.append(done)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match=r"stopped after \d of 16"):
        encode_rows(rows, model, tmp_path / "codes", press)
    encode_rows(rows, model, tmp_path / "codes")
    assert counted() == 16


def test_a_stop_after_the_last_picture_is_no_stop(tmp_path, fresh_model):
    rows, model = write_data_set(tmp_path), fresh_model()
    done = []
    codes = encode_rows(
        rows, model, tmp_path / "codes", lambda n, _: done.append(n), lambda: 16 in done
    )
    assert len(codes.rows) == len(rows)


def test_added_rows_cost_their_own_pictures_only(tmp_path, fresh_model, counted):
    model = fresh_model()
    encode_rows(write_data_set(tmp_path, 4, 4), model, tmp_path / "codes")
    assert counted() == 8
    codes = encode_rows(write_data_set(tmp_path, 5, 6), model, tmp_path / "codes")
    # 1 new drawing, 2 new edits; the new drawing is a source too, and is one picture all the same.
    assert counted() == 8 + 3
    assert len(codes.rows) == 11


def test_a_target_that_becomes_a_source_gets_its_pixels(tmp_path, fresh_model):
    model = fresh_model()
    encode_rows(write_data_set(tmp_path, 3, 0), model, tmp_path / "codes")
    codes = encode_rows(write_data_set(tmp_path, 3, 3), model, tmp_path / "codes")
    for row in codes.rows[3:]:
        assert codes.picture(row.sources[0]).shape == (32, 32, 3)


def test_an_unreadable_picture_costs_its_rows_and_is_named(tmp_path, fresh_model):
    rows = write_data_set(tmp_path, drawn=4, edits=8, broken={"0.png", "e1.png"})
    codes = encode_rows(rows, fresh_model(), tmp_path / "codes")
    # 0.png: one drawing and the edits 0 and 4; e1.png: edit 1.
    assert (codes.unreadable, codes.skipped, len(codes.rows)) == (2, 4, 8)
    listed = (codes.folder / "unreadable.jsonl").read_text().splitlines()
    assert len(listed) == 2
    assert "image/0.png" in listed[0]


def test_nothing_readable_is_one_clear_error(tmp_path, fresh_model):
    rows = write_data_set(tmp_path, drawn=1, edits=0, broken={"0.png"})
    with pytest.raises(DataError, match=r"no usable row: 'image/0.png'"):
        encode_rows(rows, fresh_model(), tmp_path / "codes")


@pytest.mark.parametrize(
    "name", ["00000.codes.npy", "00000.pixels.npy", "rows.jsonl", "index.json"]
)
def test_a_damaged_file_is_named(tmp_path, fresh_model, name):
    codes = encode_rows(write_data_set(tmp_path), fresh_model(), tmp_path / "codes")
    path = codes.folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=name.split(".")[0]):
        open_codes(codes.folder)


def test_the_hash_names_the_tokenizer_and_nothing_else(fresh_model):
    import torch

    model = fresh_model()
    one = tokenizer_hash(model)
    with torch.no_grad():
        model.network.lm_head.weight.mul_(2)
        model.network.model.vqmodel.quantize.embedding.weight.mul_(1 + 2**-22)
    assert tokenizer_hash(model) == one
    with torch.no_grad():
        model.network.model.vqmodel.quant_conv.weight[0, 0].add_(1e-6)
    assert tokenizer_hash(model) != one
    assert tokenizer_hash(fresh_model(seed=1)) != one
