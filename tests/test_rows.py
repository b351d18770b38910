"""A data set opens where it lies; what is wrong in it is listed, not unpacked and not fatal."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from janus4o.errors import DataError
from janus4o.rows import open_rows


def add(tar: tarfile.TarFile, name: str, data: bytes = b"picture", **fields: object) -> None:
    member = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(member, key, value)
    member.size = len(data) if member.isreg() else 0
    tar.addfile(member, io.BytesIO(data))


def write_rows(folder: Path, names: list[str], family: str = "text_to_image") -> None:
    rows = [
        {"input_prompt": f"p {n}", "output_image": n, "output_image_resolution": [8, 8]}
        for n in names
    ]
    if family != "text_to_image":
        rows = [{**r, "input_image": r["output_image"] and [r["output_image"]]} for r in rows]
    (folder / f"{family}.json").write_text(json.dumps(rows))


def test_archives_are_read_in_place_and_plain_files_too(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "text_to_image_part_0.tar", "w") as tar:
        add(tar, "image/0.png", b"zero")
        add(tar, "./image/1.png", b"one")
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "2.png").write_bytes(b"two")
    write_rows(tmp_path, ["image/0.png", "image/1.png", "image/2.png"])
    rows = open_rows(tmp_path)
    assert [rows.read(r.output_image) for r in rows] == [b"zero", b"one", b"two"]
    assert rows.problems == ()
    assert sorted(p.name for p in (tmp_path / "image").iterdir()) == ["2.png"]


def test_malformed_members_are_listed_and_never_reached(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    folder = tmp_path / "set"
    folder.mkdir()
    with tarfile.open(folder / "text_to_image_part_0.tar", "w") as tar:
        add(tar, "../secret")
        add(tar, "/etc/passwd")
        add(tar, "image/link.png", type=tarfile.SYMTYPE, linkname="../../secret")
        add(tar, "image/hard.png", type=tarfile.LNKTYPE, linkname="image/0.png")
        add(tar, "image/fifo.png", type=tarfile.FIFOTYPE)
        add(tar, "image/0.png")
        add(tar, "image/0.png", b"again")
        add(tar, "image/orphan.png")
    (folder / "image").mkdir()
    (folder / "image" / "out.png").symlink_to(secret)
    wanted = ["image/0.png", "image/link.png", "image/hard.png", "image/none.png", "../secret"]
    write_rows(folder, [*wanted, "image/out.png"])
    rows = open_rows(folder)
    assert [r.output_image for r in rows] == ["image/0.png"]
    assert rows.read("image/0.png") == b"picture"
    assert rows.missing == (*wanted[1:], "image/out.png")
    text = "\n".join(rows.problems)
    assert text.count("points outside") == 2
    assert text.count("link or a special file") == 3
    assert "'image/0.png' occurs twice" in text
    assert "'image/orphan.png' belongs to no row" in text
    with pytest.raises(DataError, match="no picture"):
        rows.read("../secret")


def test_truncated_archive_keeps_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "text_to_image_part_0.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "image/0.png", b"a" * 600)
        add(tar, "image/1.png", b"b" * 6000)
    path.write_bytes(path.read_bytes()[:4000])
    write_rows(tmp_path, ["image/0.png", "image/1.png"])
    rows = open_rows(tmp_path)
    assert [r.output_image for r in rows] == ["image/0.png"]
    assert rows.missing == ("image/1.png",)


def test_one_name_in_both_families_stays_two_pictures(tmp_path: Path) -> None:
    for family in ("text_to_image", "text_and_image_to_image"):
        write_rows(tmp_path, ["image/0.png"], family)
        with tarfile.open(tmp_path / f"{family}_part_0.tar", "w") as tar:
            add(tar, "image/0.png", family.encode())
    rows = open_rows(tmp_path)
    first, second = rows
    assert rows.read(first.output_image) == b"text_to_image"
    assert rows.read(second.output_image) == rows.read(second.input_image[0])
    assert rows.read(second.output_image) == b"text_and_image_to_image"


@pytest.mark.parametrize("content", ["{", "{}", '[{"input_prompt": 1}]', "[" * 100_000])
def test_unreadable_rows_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "text_to_image.json").write_text(content)
    with pytest.raises(DataError, match=r"text_to_image\.json"):
        open_rows(tmp_path)


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data set"):
        open_rows(tmp_path)
