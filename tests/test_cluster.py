"""What is done on a real Ray cluster of two machines (both of them this one) is what is done here.

Processes there import this file: it imports nothing that takes long.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from janus4o import cluster
from janus4o.cli.app import main
from janus4o.cluster import RayPool
from janus4o.errors import DataError, Interrupted, Refused

ray: Any = pytest.importorskip("ray", reason="pip install 'janus4o[ray]'")


@pytest.fixture(scope="module", autouse=True)
def two_machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    machine = {"num_cpus": 1, "object_store_memory": 100_000_000}
    made = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    made.add_node(**machine)
    os.environ["RAY_ADDRESS"] = made.address
    ray.init(logging_level="ERROR", log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        made.shutdown()
        os.environ.clear()
        os.environ.update(before)


def caller() -> Callable[[Callable[[], Any]], Any]:
    return lambda work: work()


@pytest.fixture(scope="class")
def pool() -> Iterator[RayPool[Callable[[], Any], Any]]:
    with RayPool(caller) as begun:
        yield begun


def place() -> str:
    return str(ray.get_runtime_context().get_node_id())


def picky(number: int) -> int:
    if number == 3:
        raise DataError("3 is no number", "take another")
    return -number


def mortal(marks: Path, deaths: int, number: int) -> int:
    if number == 2 and len(list(marks.iterdir())) < deaths:
        (marks / str(os.getpid())).touch()
        os._exit(9)  # as the kernel does where memory is gone
    return number


class TestPool:
    """Those with one pool: it is closed before others want the machines."""

    def test_items_are_worked_on_by_all_machines_and_come_back_in_order(
        self,
        pool: RayPool[Callable[[], Any], Any],
    ) -> None:
        assert pool.processes == 2
        machines: set[str] = set()
        patience = time.monotonic() + 60  # the one may be ready long before the other
        while machines != {node["NodeID"] for node in ray.nodes()}:
            assert time.monotonic() < patience
            futures = [pool.submit(partial(lambda n: (n, place()), number)) for number in range(40)]
            found = [future.result() for future in futures]
            assert [number for number, _ in found] == list(range(40))
            machines |= {machine for _, machine in found}

    def test_an_error_of_the_work_is_raised_as_it_is_and_the_rest_goes_on(
        self,
        pool: RayPool[Callable[[], Any], Any],
    ) -> None:
        futures = [pool.submit(partial(picky, number)) for number in range(6)]
        with pytest.raises(DataError, match="3 is no number") as raised:
            futures[3].result()
        assert raised.value.remedy == "take another"
        assert [futures[n].result() for n in (0, 1, 2, 4, 5)] == [0, -1, -2, -4, -5]

    def test_a_process_that_dies_costs_no_item(
        self, pool: RayPool[Callable[[], Any], Any], tmp_path: Path
    ) -> None:
        futures = [pool.submit(partial(mortal, tmp_path, 1, number)) for number in range(8)]
        assert [future.result() for future in futures] == list(range(8))
        assert len(list(tmp_path.iterdir())) == 1

    def test_what_kills_every_process_is_told_in_a_line(
        self, pool: RayPool[Callable[[], Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cluster, "RETRIES", 1)
        with pytest.raises(Interrupted, match="died again and again") as raised:
            pool.submit(partial(mortal, tmp_path, 99, 2)).result()
        assert pool.submit(partial(mortal, tmp_path, 0, 2)).result() == 2  # the others go on
        assert "\n" not in str(raised.value)


def late(marks: Path, deaths: int) -> Callable[[int], int]:
    if len(list(marks.iterdir())) < deaths:
        (marks / str(os.getpid())).touch()
        os._exit(9)
    return partial(mortal, marks, deaths + 1)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_places", lambda ray, heavy: [{"num_cpus": 1}])


@pytest.mark.usefixtures("one_process")
def test_the_only_process_may_die_as_it_begins_and_as_it_works(tmp_path: Path) -> None:
    with RayPool(late, tmp_path, 1) as alone:
        futures = [alone.submit(number) for number in range(9)]  # more than it has threads
        assert [future.result(60) for future in futures] == list(range(9))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("one_process")
def test_a_process_that_never_begins_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "RETRIES", 1)
    with (
        RayPool(late, tmp_path, 99) as alone,
        pytest.raises(Interrupted, match="again and again"),
    ):
        alone.submit(1).result(60)


def test_another_version_on_the_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_version", lambda: "0.0.7")
    with RayPool(caller) as pool, pytest.raises(Refused, match=r"this machine 0\.0\.7"):
        pool.submit(place).result()


def test_no_ray_and_no_cluster_are_one_line(
    monkeypatch: pytest.MonkeyPatch, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert main(["check", str(made), "--backend", "ray"]) == 4
    told = capsys.readouterr().err.strip().splitlines()
    assert "RAY_ADDRESS=127.0.0.1:1 does not answer" in told[-1]

    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["check", str(made), "--backend", "ray"]) == 4
    assert "pip install 'janus4o[ray]'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of 40 + 20 rows."""
    folder = tmp_path_factory.mktemp("made") / "run"
    sizes = ["synthesis.text_to_image.count=40", "synthesis.editing.count=20"]
    recipe = root / "recipes" / "sketch.yaml"
    assert main(["synth", str(recipe), f"output={folder}", *sizes]) == 0
    return folder


def test_checks_on_ray_find_what_checks_here_find(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["check", str(made), "--sketch", "--detector", "sketch"]
    assert main([*asked, "--out", str(tmp_path / "here")]) == 0
    monkeypatch.setattr("janus4o.synth.checking.ahead._by_threads", None)
    monkeypatch.setattr("janus4o.synth.checking.ahead.BATCH_ROWS", 4)
    assert main([*asked, "--out", str(tmp_path / "there"), "--backend", "ray"]) == 0
    here, there = ((tmp_path / name / "checks.jsonl").read_bytes() for name in ("here", "there"))
    assert here == there
    assert len(here.splitlines()) == 61


def test_codes_made_on_ray_are_those_made_here(
    made: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["encode", str(root / "recipes" / "sketch.yaml"), f"output={made}"]
    assert main(asked) == 0
    (made / "codes").rename(tmp_path / "here")
    monkeypatch.setattr("janus4o.train.encode._Encoders", None)
    assert main([*asked, "--backend", "ray"]) == 0
    here, there = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "here", made / "codes")
    )
    assert here == there
    assert here


def test_ray_chooses_devices(made: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["encode", str(root / "recipes" / "sketch.yaml"), f"output={made}", "--device", "cpu"]
    assert main([*asked, "--backend", "ray"]) == 2
    assert "--device cpu with --backend ray" in capsys.readouterr().err


def test_what_cannot_be_hired_holds_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed: list[int] = []
    close = RayPool.close
    monkeypatch.setattr(RayPool, "close", lambda pool: closed.append(1) or close(pool))
    recipe = str(root / "recipes" / "sketch.yaml")
    painter = f"teachers.painter={{api: janus, model: {tmp_path / 'nowhere'}}}"
    assert main(["synth", recipe, painter, f"output={tmp_path / 'run'}", "--backend", "ray"]) == 3
    assert "nowhere" in capsys.readouterr().err
    assert closed


def test_pictures_painted_on_ray_are_those_painted_here(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        "synth",
        str(root / "recipes" / "sketch.yaml"),
        "teachers.painter={api: janus, model: sketch-base}",
        "synthesis.text_to_image.count=3",
        "synthesis.editing.count=0",
    ]
    assert main([*asked, f"output={tmp_path / 'here'}"]) == 0
    monkeypatch.setattr("janus4o.generate.teacher.Loaded", None)
    assert main([*asked, f"output={tmp_path / 'there'}", "--backend", "ray"]) == 0
    here, there = (
        (tmp_path / name / "dataset" / "rows.jsonl").read_text() for name in ("here", "there")
    )
    assert here == there  # pictures are named by their hash
    assert len({json.loads(line)["output_image"] for line in here.splitlines()}) == 3
