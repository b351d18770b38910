"""Pictures that are there already, in every form they come in, read where they lie."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus4o.errors import DataError, ImageError, RecipeError
from janus4o.images import open_image, save_png
from janus4o.recipe import Pictures
from janus4o.synth import pictures
from janus4o.synth.pictures import open_pictures


def photo(number: int, kind: str = "PNG", **saved: object) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (40, 56, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **saved)
    return buffer.getvalue()


def taken(source: Pictures, seed: int = 0) -> dict[str, bytes]:
    pictures.open_pictures.cache_clear()
    return {entry.name: entry.read() for entry in open_pictures(source, seed)}


def folder_of(path: Path, count: int = 6) -> Path:
    (path / "deep").mkdir(parents=True)
    for number in range(count):
        where = path / "deep" if number % 2 else path
        (where / f"{number}.png").write_bytes(photo(number))
    (path / "notes.txt").write_text("no picture")
    (path / ".hidden.png").write_bytes(photo(99))
    return path


def test_a_folder_gives_all_its_pictures_in_an_order_of_the_seed(tmp_path: Path) -> None:
    path = str(folder_of(tmp_path / "a"))
    found = taken(Pictures(path=path))
    assert sorted(found) == ["0.png", "2.png", "4.png", "deep/1.png", "deep/3.png", "deep/5.png"]
    assert found["deep/3.png"] == photo(3)
    orders = {tuple(taken(Pictures(path=path), seed)) for seed in range(8)}
    assert len(orders) > 1
    assert list(taken(Pictures(path=path), 3)) == list(taken(Pictures(path=path), 3))


def test_another_picture_changes_the_digest_but_not_the_order_of_the_rest(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a")
    source = Pictures(path=str(folder))
    before, digest = list(taken(source)), open_pictures(source, 0).digest
    (folder / "new.png").write_bytes(photo(50))
    after = list(taken(source))
    assert [name for name in after if name != "new.png"] == before
    assert open_pictures(source, 0).digest != digest


def test_a_file_of_another_kind_is_found_and_refused_by_name_when_its_turn_comes(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "a.gif").write_bytes(photo(1, "GIF"))
    (data,) = taken(Pictures(path=str(folder))).values()
    with pytest.raises(ImageError, match="GIF"):
        pictures.load(data)


def tar_of(path: Path, members: dict[str, bytes], link: bool = False) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo("link.png")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    return path


def test_webdataset_tars_are_read_in_place(tmp_path: Path) -> None:
    for shard in range(2):
        members = {f"{n}.jpg": photo(10 * shard + n, "JPEG") for n in range(3)}
        tar_of(tmp_path / f"shard-{shard}.tar", {**members, "0.json": b"{}"})
    found = taken(Pictures(path=str(tmp_path), format="webdataset"))
    assert len(found) == 6
    assert found["shard-1.tar/2.jpg"] == photo(12, "JPEG")
    assert not [file for file in tmp_path.iterdir() if file.suffix != ".tar"]


def test_members_that_are_no_files_or_point_outside_are_left_out_by_name(tmp_path: Path) -> None:
    tar_of(tmp_path / "a.tar", {"../out.png": photo(1), "in.png": photo(2)}, link=True)
    opened = open_pictures(Pictures(path=str(tmp_path), format="webdataset"), 0)
    assert [entry.name for entry in opened] == ["a.tar/in.png"]
    assert any("points outside" in line for line in opened.left_out)
    assert any("is a link" in line for line in opened.left_out)
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    pictures.open_pictures.cache_clear()
    opened = open_pictures(Pictures(path=str(tmp_path), format="webdataset"), 0)
    assert any(line.startswith("b.tar") for line in opened.left_out)


def test_compressed_tars_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    with pytest.raises(RecipeError, match="unpack them"):
        open_pictures(Pictures(path=str(tmp_path), format="webdataset"), 0)


def parquet(path: Path, rows: list[object], **written: object) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra data")
    tables = pytest.importorskip("pyarrow.parquet", reason="needs the extra data")
    tables.write_table(arrow.table({"image": rows}), path, **written)
    return path


def test_parquet_rows_are_found_across_files_and_row_groups(tmp_path: Path) -> None:
    cells = [{"bytes": photo(n), "path": f"{n}.png"} for n in range(25)]
    parquet(tmp_path / "a.parquet", cells[:20], row_group_size=12)
    parquet(tmp_path / "b.parquet", [cell["bytes"] for cell in cells[20:]])  # bytes alone
    found = taken(Pictures(path=str(tmp_path), format="parquet"))
    assert found == {
        **{f"a.parquet/{n}": photo(n) for n in range(20)},
        **{f"b.parquet/{n}": photo(20 + n) for n in range(5)},
    }


def test_parquet_without_bytes_or_column_says_so(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [{"bytes": None, "path": "there.png"}])
    (entry,) = open_pictures(Pictures(path=str(tmp_path), format="parquet"), 0)
    with pytest.raises(DataError, match=r"only names 'there\.png'"):
        entry.read()
    with pytest.raises(RecipeError, match="no column 'pixels', but image"):
        open_pictures(Pictures(path=str(tmp_path), format="parquet", column="pixels"), 0)


def test_without_its_package_parquet_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(RecipeError, match=r"janus4o\[data\]"):
        open_pictures(Pictures(path=str(tmp_path), format="parquet"), 0)


def allava(root: Path, images: Callable[[Path], None]) -> Path:
    """As its download scripts leave it: two arrays about the same pictures."""
    part = root / "allava_laion"
    part.mkdir(parents=True)
    rows = [
        {
            "id": f"allava_laion_cap_{n}",
            "image": f"allava_laion/images/{n}.jpeg",
            "conversations": [{"from": "human", "value": "<image>\nDescribe."}],
            "url": "https://example.org/a.jpg",
        }
        for n in range(4)
    ]
    (part / "ALLaVA-Caption-LAION-4V.json").write_text(json.dumps(rows))
    (part / "ALLaVA-Instruct-LAION-4V.json").write_text(json.dumps(rows[:3]))
    images(part)
    return root


def unpacked(part: Path) -> None:
    (part / "images").mkdir()
    for n in range(3):
        (part / "images" / f"{n}.jpeg").write_bytes(photo(n, "JPEG"))


def zipped(part: Path) -> None:
    with zipfile.ZipFile(part / "images.zip", "w") as archive:
        for n in range(3):
            archive.writestr(f"images/{n}.jpeg", photo(n, "JPEG"))


@pytest.mark.parametrize("images", [unpacked, zipped])
@pytest.mark.parametrize("given", ["", "allava_laion"])
def test_allava_is_read_as_it_is_downloaded(
    tmp_path: Path, images: Callable[[Path], None], given: str
) -> None:
    root = allava(tmp_path / "ALLaVA-4V", images)
    source = Pictures(path=str(root / given), format="allava")
    found = taken(source)
    assert found == {f"allava_laion/images/{n}.jpeg": photo(n, "JPEG") for n in range(3)}
    (missing,) = open_pictures(source, 0).left_out
    assert missing == "picture 'allava_laion/images/3.jpeg' is missing"


def test_allava_names_that_point_outside_are_left_out(tmp_path: Path) -> None:
    root = allava(tmp_path / "a", unpacked)
    (tmp_path / "secret.png").write_bytes(photo(9))
    rows = [{"image": "../secret.png"}, {"image": "allava_laion/images/0.jpeg"}]
    (root / "allava_laion" / "ALLaVA-Caption-LAION-4V.json").write_text(json.dumps(rows))
    assert "../secret.png" not in taken(Pictures(path=str(root), format="allava"))


def test_a_hub_data_set_is_read_from_the_cache_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra data")
    sha = "a" * 40
    cached = tmp_path / "datasets--someone--photos"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(sha)
    data = cached / "snapshots" / sha / "data"
    data.mkdir(parents=True)
    tar_of(data / "train-0.tar", {"0.png": photo(4)})
    given = Pictures(path="someone/photos", format="hub", files="data/*.tar")
    real = hub.snapshot_download
    monkeypatch.setattr(
        hub,
        "snapshot_download",
        lambda *a, **k: real(*a, cache_dir=tmp_path, local_files_only=True, **k),
    )
    assert taken(given) == {"data/train-0.tar/0.png": photo(4)}
    with pytest.raises(RecipeError, match="the hub does not give 'someone/absent'"):
        open_pictures(Pictures(path="someone/absent", format="hub"), 0)
    with pytest.raises(RecipeError, match="no data set of the hub"):
        open_pictures(Pictures(path="photos", format="hub"), 0)


@pytest.mark.parametrize("kind", ["folder", "webdataset", "allava"])
def test_nothing_to_be_found_says_so(tmp_path: Path, kind: str) -> None:
    with pytest.raises(RecipeError, match="does not exist"):
        open_pictures(Pictures(path=str(tmp_path / "none"), format=kind), 0)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="holds no picture"):
        open_pictures(Pictures(path=str(tmp_path), format=kind), 0)  # type: ignore[arg-type]


# what may travel


def test_a_plain_picture_keeps_its_bytes() -> None:
    for data in (photo(1), photo(1, "JPEG"), photo(1, "WEBP")):
        assert pictures.load(data)[0].data == data


def test_what_a_header_tells_about_its_owner_does_not_travel() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera of mine", 6
    exif.get_ifd(0x8825)[1] = "N"
    data = photo(1, "JPEG", exif=exif)
    assert b"A camera of mine" in data
    picture, image = pictures.load(data)
    assert b"camera" not in picture.data
    assert image.size == (40, 56), "upright"
    assert np.array_equal(np.asarray(open_image(picture.data)), np.asarray(image))
    told = save_png(open_image(photo(2)), metadata={"Comment": "by me"})
    assert b"by me" not in pictures.load(told)[0].data
