"""A data set opens where it lies; what is wrong in it is listed, not unpacked and not fatal."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from janus4o.errors import DataError
from janus4o.rows import archives, open_rows


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


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, **more: int) -> bytes:
    """512 bytes that `tarfile` itself would not write; `more`: b483 = 12 bytes at 483."""
    data = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    data[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)  # type: ignore[attr-defined]
    data[156:157] = kind
    for key, value in more.items():
        at = int(key[1:])
        data[at : at + 12] = tarfile.itn(value, 12, tarfile.GNU_FORMAT)  # type: ignore[attr-defined]
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


HOSTILE_TARS = {
    "chained": (header("././@LongLink", 0, tarfile.GNUTYPE_LONGNAME) * 2000, "damaged archive"),
    "going back": (header("b.png", -1024), "'b.png' has a size below zero"),
    "shorter than nothing": (header("b.png", -16), "'b.png' has a size below zero"),
    "sparse going back": (
        header("b.png", -1024, tarfile.GNUTYPE_SPARSE, b483=5), "'b.png' has a size below zero",
    ),
    "pax going back": (
        header("b", 14, tarfile.XHDTYPE) + b"14 size=-1024\n".ljust(512, b"\0") + header("b.png", 0),
        "'b.png' has a size below zero",
    ),
    "out of this world": (header("b.png", 2**63), "damaged archive"),
    "a name without end": (header("b", 2**63, tarfile.GNUTYPE_LONGNAME), "damaged archive"),
    "a name of exabytes": (header("b", 2**62, tarfile.GNUTYPE_LONGNAME), "damaged archive"),
    "sparse cut off": (header("b.png", 0, tarfile.GNUTYPE_SPARSE, b471=-1), "damaged archive"),
}  # fmt: skip


@pytest.mark.parametrize("headers", HOSTILE_TARS.values(), ids=HOSTILE_TARS)
def test_headers_that_lie_end_their_archive_only(
    tmp_path: Path, headers: tuple[bytes, str]
) -> None:
    class Endless(list[str]):
        def append(self, line: str) -> None:
            assert len(self) < 9, "the same header again and again"
            super().append(line)

    data, said = headers
    path, problems = tmp_path / "a.tar", Endless()
    path.write_bytes(header("a.png", 0) + data)
    assert [name for name, _ in archives.index(path, problems)] == ["a.png"]
    assert said in problems[-1], problems


def sample(key: str, output: str, **changes: object) -> bytes:
    row = {"input_prompt": key, "output_image": output, "output_image_resolution": [8, 8]}
    return json.dumps({**row, **changes}).encode()


def test_a_hostile_webdataset_is_listed_and_never_reached(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    folder = tmp_path / "set"
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "0.json", sample("zero", "0.output.png"))
        add(tar, "0.output.png", b"zero")
        add(tar, "1.json", sample("out", "../secret"))
        add(tar, "../secret", b"mine")
        add(tar, "2.json", sample("link", "2.output.png"))
        add(tar, "2.output.png", type=tarfile.SYMTYPE, linkname="../secret")
        add(tar, "3.json", sample("device", "3.output.png"))
        add(tar, "3.output.png", type=tarfile.CHRTYPE, devmajor=5)
        add(tar, "4.json", b"[" * 100_000)
        add(tar, "5.json", sample("five", "5.png", surplus=1))
        add(tar, "6.json", b" " * 1_000_001)
        add(tar, "7.json", sample("\x00", "0.output.png"))
        add(tar, "0.output.png", b"again")
        add(tar, "orphan.png", b"orphan")
        add(tar, "8.json", sample("absolute", str(secret)))
    with tarfile.open(folder / "b.tar", "w") as tar:  # keys begin again
        add(tar, "0.output.png", b"other")
        add(tar, "0.json", sample("other", "0.output.png"))
        add(tar, "1.json", sample("cut off", "1.output.png"))
        add(tar, "1.output.png", b"x" * 20_000)
    whole = (folder / "b.tar").read_bytes()
    (folder / "b.tar").write_bytes(whole[:9000])
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    rows = open_rows(folder)
    assert [(r.input_prompt, rows.read(r.output_image)) for r in rows] == [
        ("zero", b"zero"),
        ("other", b"other"),
    ]
    text = "\n".join(rows.problems)
    for words in (
        "'../secret' points outside", "'2.output.png' is a link or a special file",
        "'3.output.png' is a link or a special file", "'4.json': no row", "'5.json': surplus",
        "'6.json' is larger than a row can be", "'7.json': the prompt holds the control character",
        "'0.output.png' occurs twice", "'orphan.png' belongs to no row", "'1.output.png' is cut off",
        "picture 'a.tar/../secret' is missing", f"picture 'a.tar/{secret}' is missing",
    ):  # fmt: skip
        assert words in text, words
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def parquet(path: Path, rows: list[dict[str, object]], **options: object) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [
            ("input_prompt", pa.string()),
            ("input_image", pa.list_(picture)),
            ("output_image", picture),
            ("output_image_resolution", pa.list_(pa.int32())),
            ("surplus", pa.int32()),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), path, **options)


def line(
    prompt: str, data: bytes | None, *sources: bytes, path: str = "x.png"
) -> dict[str, object]:
    return {
        "input_prompt": prompt,
        "input_image": [{"bytes": one, "path": path} for one in sources],
        "output_image": {"bytes": data, "path": path},
        "output_image_resolution": [8, 8],
    }


def test_parquet_files_are_read_in_place(tmp_path: Path) -> None:
    lines = [line(f"p{n}", b"out%d" % n, *[b"in%d-%d" % (n, k) for k in range(n % 3)])
             for n in range(50)]  # fmt: skip
    parquet(tmp_path / "one.parquet", lines[:30], row_group_size=20)
    parquet(tmp_path / "two.parquet", lines[30:])
    rows = open_rows(tmp_path)
    assert rows.problems == ()
    order = [*range(50), *reversed(range(50)), 3, 45, 4]  # in any order, back and forth
    for n in order:
        assert rows[n].input_prompt == f"p{n}"
        assert rows.read(rows[n].output_image) == b"out%d" % n
        sources = [rows.read(name) for name in rows[n].input_image]
        assert sources == [b"in%d-%d" % (n, k) for k in range(n % 3)]
    assert len(open_rows(tmp_path / "two.parquet")) == 20


def test_a_hostile_parquet_file_is_listed_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "set"
    folder.mkdir()
    link, plain = str(tmp_path / "secret"), {"use_dictionary": False}
    parquet(
        folder / "a.parquet",
        [line("zero", b"zero", path="../secret"), line("named only", None, path=link),
         line("", b"empty"), line("ok", b"ok", path=link)],
    )  # fmt: skip
    parquet(
        folder / "bomb.parquet", [line("bomb", bytes(51_000_000))] * 2, compression="zstd", **plain
    )
    parquet(folder / "cut.parquet", [line("cut", b"x" * 9000)] * 9, compression="none", **plain)
    (folder / "cut.parquet").write_bytes((folder / "cut.parquet").read_bytes()[:5000])
    parquet(folder / "torn.parquet", [line("torn", b"y" * 9000)] * 9, compression="none")
    data = bytearray((folder / "torn.parquet").read_bytes())
    data[4:40] = b"\xff" * 36
    (folder / "torn.parquet").write_bytes(data)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"]}), folder / "other.parquet")
    rows = open_rows(folder)
    good = [r for r in rows if r.input_prompt in ("zero", "ok")]
    assert [rows.read(r.output_image) for r in good] == [b"zero", b"ok"]
    (named,) = [r for r in rows if r.input_prompt == "named only"]
    with pytest.raises(DataError, match="holds no picture"):
        rows.read(named.output_image)
    text = "\n".join(rows.problems)
    for words in (
        "a.parquet, row 2: the prompt is empty", "bomb.parquet, row group 0: output_image.bytes unpacks",
        "cut.parquet: damaged", "torn.parquet: damaged", "other.parquet: no column 'input_prompt'",
    ):  # fmt: skip
        assert words in text, words
    large = tmp_path / "large.parquet"
    parquet(large, [line("large", b"\x89" * 51_000_000)], compression="none")
    (row,) = open_rows(large)
    with pytest.raises(DataError, match="larger than 50 MB"):
        open_rows(large).read(row.output_image)


def test_what_pyarrow_does_not_support_is_a_line_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which codecs and nestings those are depends on how it was built: here it knows nothing."""
    parquet(tmp_path / "a.parquet", [line("one", b"one")])
    parquet(tmp_path / "b.parquet", [line("two", b"two")])
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = pq.ParquetFile.iter_batches

    def unsupported(file: pq.ParquetFile, *args: object, **options: object) -> object:
        if options["columns"] == broken or (broken is None and "two" in content(file)):
            raise pa.ArrowNotImplementedError("Support for codec 'x' not built")
        return whole(file, *args, **options)

    def content(file: pq.ParquetFile) -> str:
        return str(file.metadata.row_group(0).column(0).statistics.max)

    broken: list[str] | None = None
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", unsupported)
    rows = open_rows(tmp_path)
    assert [r.input_prompt for r in rows] == ["one"]
    assert rows.problems == ("b.parquet: damaged Parquet file: Support for codec 'x' not built",)
    broken = ["output_image"]
    with pytest.raises(DataError, match="cannot be read at row 0 of group 0: Support for codec"):
        rows.read(rows[0].output_image)


def test_texts_that_unpack_to_too_much_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One long text for every row: packed by a dictionary, the footer calls it small."""
    monkeypatch.setattr("janus4o.rows.parquet.LARGEST_TEXT", 1_000_000)
    parquet(tmp_path / "a.parquet", [line("long " * 500, b"a")] * 2000)
    parquet(tmp_path / "b.parquet", [line("short", b"b")] * 5)
    rows = open_rows(tmp_path)
    assert rows[-1].input_prompt == "short"
    assert len(rows) < 500
    (problem,) = rows.problems
    assert "a.parquet, row group 0: its texts unpack to more than 1 MB" in problem
