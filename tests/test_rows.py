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
        {"input_prompt": f"p {i}", "output_image": n, "output_image_resolution": [8, 8]}
        for i, n in enumerate(names)
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


def test_nothing_of_a_hostile_archive_is_ever_written(tmp_path: Path) -> None:
    """Devices, sparse giants, names that leave the folder, differ by case or fit no file system."""
    folder = tmp_path / "set"
    folder.mkdir()
    long = "image/" + "x" * 300 + ".png"
    with tarfile.open(folder / "text_to_image_part_0.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "image/tty.png", type=tarfile.CHRTYPE, devmajor=5)
        add(tar, "image/disk.png", type=tarfile.BLKTYPE, devmajor=8)
        add(tar, "image/a.png", b"small")
        add(tar, "image/A.png", b"large")
        add(tar, "image/../../out.png")
        add(tar, "C:/CON.png", b"con")
        add(tar, long, b"long")
        add(tar, "image/caf\udce9.png", b"latin")
        harmless = tarfile.TarInfo("image/pax.png")
        harmless.pax_headers = {"path": "../pax.png"}
        harmless.size = 3
        tar.addfile(harmless, io.BytesIO(b"pax"))
        add(tar, "image/giant.png", type=tarfile.GNUTYPE_SPARSE)
    names = ["image/a.png", "image/A.png", "C:/CON.png", long, "image/caf\udce9.png"]
    absent = [
        "image/tty.png",
        "image/disk.png",
        "image/../../out.png",
        "y" * 300,
        "\0",
        "../pax.png",
    ]
    write_rows(folder, [*names, *absent])
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    rows = open_rows(folder)
    assert [r.output_image for r in rows] == names
    assert [rows.read(name) for name in names] == [b"small", b"large", b"con", b"long", b"latin"]
    assert rows.missing == tuple(absent)
    text = "\n".join(rows.problems)
    assert text.count("link or a special file") >= 2
    assert text.count("points outside") >= 1
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_row_whose_prompt_cannot_be_used_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    for number in range(4):
        (tmp_path / "image" / f"{number}.png").write_bytes(b"x")
    write_rows(tmp_path, [f"image/{number}.png" for number in range(4)])
    path = tmp_path / "text_to_image.json"
    rows = json.loads(path.read_text())
    for row, text in zip(rows[1:], ("", "a\0b", "a\ud800"), strict=True):
        row["input_prompt"] = text
    path.write_text(json.dumps(rows))
    opened = open_rows(tmp_path)
    assert len(opened) == 1
    assert [line.partition("the prompt ")[2] for line in opened.problems] == [
        "is empty",
        "holds the control character U+0000",
        "holds U+D800, which is no character",
    ]
