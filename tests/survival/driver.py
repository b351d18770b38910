"""Makes one thing after the other go wrong in a tiny run and looks whether the run recovers.

Started by the tests as a process of its own with `faults.c` loaded before everything else. It makes
the unhurt run once, then forks a child for every fault: the child works on a copy of the folder and
is hurt, a second child does the same work unhurt, and what the folder then holds must be the same as
if nothing had happened. Prints one JSON object a line: a `Case`, and last the totals.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

OFF, COUNT, KILL, TEAR, FAIL_ONCE, FAIL_ON = range(6)
"""As in faults.c."""

STAGES = ("synth", "sharegpt", "parquet", "webdataset", "encode", "train")
"""Three of them are exports, one of each format."""
KILLED = 9
NOT_REACHED = "not reached"
REMNANTS = ("store.sqlite-wal", "store.sqlite-shm")
CARDS = tuple(f"export/{form}/README.md" for form in ("sharegpt", "parquet", "webdataset"))
TIMED = ("dataset/provenance.jsonl", "store.sqlite", ".lock", *CARDS, *REMNANTS)
"""Files that hold times or the order of things, so that no two runs agree in them."""


@dataclass(frozen=True)
class Case:
    """One fault and how it ended; `why` is empty where all is well."""

    stage: str
    fault: str
    point: int
    call: str
    why: str


class TinyRun:
    """A run small enough to be made hundreds of times: two pictures, two edits, four steps."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.folder = work / "run"
        self.recipe = work / "tiny.yaml"
        self.recipe.write_text(
            yaml.safe_dump(
                {
                    "name": "tiny",
                    "output": str(self.folder),
                    "teachers": {"size": [64, 64]},
                    "synthesis": {
                        "text_to_image": {"count": 2},
                        "editing": {"count": 2},
                        "concurrency": 2,
                    },
                    "model": {"init": str(work / "init"), "fit": "crop"},
                    "train": {
                        "steps": 4,
                        "batch": 2,
                        "rate": 1e-3,
                        "checkpoint_every": 2,
                        "keep_checkpoints": 1,
                    },
                }
            )
        )

    def make_init(self) -> None:
        """The model training starts from."""
        from janus4o.model.loading import TinyConfig, new_model, save_model
        from janus4o.sketch.grammar import VOCABULARY

        sizes = TinyConfig(
            image_size=32, patch_size=8, hidden=32, layers=1, heads=2, mlp=48,
            vision_hidden=32, vision_layers=1, vision_heads=2, vq_codes=64,
            vq_multipliers=(1, 1, 1, 1), embedding_std=1.0, std=0.2,
        )  # fmt: skip
        save_model(new_model(VOCABULARY, sizes), self.work / "init")

    def words(self, stage: str) -> list[str]:
        """The command line of a stage."""
        match stage:
            case "sharegpt" | "parquet" | "webdataset":
                return ["export", str(self.folder), "--format", stage]
            case "train":
                return ["train", str(self.recipe), "--device", "cpu"]
            case _:
                return [stage, str(self.recipe)]

    def keep(self, name: str) -> None:
        shutil.copytree(self.folder, self.work / name)

    def put_back(self, name: str) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if (self.work / name).exists():
            shutil.copytree(self.work / name, self.folder)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--crash", type=int, help="at so many points a stage; 0 is all")
    parser.add_argument("--disk", type=int, help="at so many points a stage; 0 is all")
    parser.add_argument("--kills", type=int, default=0, help="of all stages, at any instant")
    asked = parser.parse_args()

    # What every child needs, once for all of them; pyarrow looks for pandas.
    import pyarrow.parquet  # noqa: F401

    with contextlib.suppress(ImportError):
        import pandas  # noqa: F401

    import janus4o.cli.app
    import janus4o.cli.export
    import janus4o.cli.synth
    import janus4o.cli.teachers
    import janus4o.sketch.teacher
    import janus4o.synth.export
    import janus4o.synth.inspection
    import janus4o.synth.runner

    os.environ["JANUS4O_TRACEBACK"] = ""
    run = TinyRun(asked.work)
    last = STAGES.index(asked.stages[-1])
    if last >= STAGES.index("encode"):
        import torch  # noqa: F401
        import transformers.models.janus.modeling_janus  # noqa: F401

        import janus4o.cli.train
        import janus4o.train.encode
        import janus4o.train.loop  # noqa: F401

        in_child(run.make_init, run)
    gc.freeze()  # collecting garbage would make every child copy all of this
    needed = STAGES[: last + 1]
    for stage in needed:
        if run.folder.exists():
            run.keep(f"before-{stage}")
        code, said = command(run, stage)
        assert code == 0, said
    totals: Counter[str] = Counter()
    for case in campaigns(run, asked, needed):
        totals[f"{case.stage} {case.fault}"] += 1
        print(json.dumps(asdict(case)), flush=True)
    print(json.dumps(totals), flush=True)


# faults


def campaigns(run: TinyRun, asked: argparse.Namespace, needed: Sequence[str]) -> Iterator[Case]:
    """Everything asked for; `run` holds the unhurt run of the stages needed."""
    if asked.kills:
        yield from random_kills(run, needed, asked.kills)
    for stage in asked.stages if (asked.crash, asked.disk) != (None, None) else ():
        unhurt = watch(run, stage)
        if asked.crash is not None:
            yield from crashes(run, stage, asked.crash, *unhurt)
        if asked.disk is not None:
            yield from disk_faults(run, stage, asked.disk, *unhurt)


def crashes(
    run: TinyRun, stage: str, few: int, expected: dict[str, Any], calls: list[str]
) -> Iterator[Case]:
    """The stage dies before every call that changes a file, and half-way through every write."""
    for fault, mode in (("kill", KILL), ("torn write", TEAR)):
        points = [n for n, call in enumerate(calls, 1) if mode == KILL or call.startswith("write ")]
        for point in some(points, few):
            run.put_back(f"before-{stage}")
            code, _ = command(run, stage, point, mode)
            # A slow machine commits more often: a run may also be over before the point is reached.
            call = calls[point - 1] if code == KILLED else NOT_REACHED
            why = "" if code in (KILLED, 0) else f"ended with {code} instead of being killed"
            yield Case(stage, fault, point, call, why or recovers(run, stage, expected))


def disk_faults(
    run: TinyRun, stage: str, few: int, expected: dict[str, Any], calls: list[str]
) -> Iterator[Case]:
    """The disk is full from some call on, or fails at one: a clean stop, and then a clean resume."""
    for fault, mode, number in (
        ("disk full", FAIL_ON, errno.ENOSPC),
        ("I/O error", FAIL_ONCE, errno.EIO),
    ):
        for point in some(range(1, len(calls) + 1), few):
            run.put_back(f"before-{stage}")
            code, said = command(run, stage, point, mode, number)
            why = unclear(code, said, run) if code != 0 else ""
            yield Case(stage, fault, point, calls[point - 1], why or recovers(run, stage, expected))


def unclear(code: int, said: str, run: TinyRun) -> str:
    """What is wrong with how a command ended that could not write."""
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    if code != 5 or len(errors) != 1 or "Traceback" in said or "→" not in errors[0]:
        return f"no clean stop: {code}: {said}"
    left = [str(path) for path in run.folder.rglob("*") if path.name.endswith(".part")]
    return f"left behind: {left}" if left else ""


def random_kills(run: TinyRun, stages: Sequence[str], kills: int) -> Iterator[Case]:
    """All stages, one after the other, killed at any instant as often as it takes to finish."""
    expected = look(run.folder)

    def work() -> None:
        for stage in stages:
            if (code := act(run.words(stage))) != 0:
                os._exit(code)

    run.put_back("none")
    began = time.monotonic()
    wait(fork(work, run))
    span = time.monotonic() - began
    rng = random.Random(kills)
    run.put_back("none")
    done = 0
    while done < kills:
        pid = fork(work, run)
        time.sleep(rng.uniform(0, span))
        os.kill(pid, signal.SIGKILL)
        code = wait(pid)
        if code == -signal.SIGKILL:
            done += 1
            if done < kills and rng.random() < 0.7:
                continue  # killed again before it was ever finished
        elif code != 0:
            said = (run.work / "said").read_text()
            yield Case("all", "kill -9", done, "", f"ended with {code}: {said}")
            run.put_back("none")
            continue
        code = wait(fork(work, run))
        why = "" if code == 0 else f"resume ended with {code}: {(run.work / 'said').read_text()}"
        yield Case("all", "kill -9", done, "", why or differences(expected, look(run.folder)))
        run.put_back("none")


def watch(run: TinyRun, stage: str) -> tuple[dict[str, Any], list[str]]:
    """What the stage leaves when all goes well, and its calls ("write run/store.sqlite")."""
    run.put_back(f"before-{stage}")
    log = run.work / "calls"
    log.write_bytes(b"")
    code, said = command(run, stage, 0, COUNT, log=log)
    assert code == 0, said
    calls = [line.replace(f"{run.work}/", "") for line in log.read_text().splitlines()]
    return look(run.folder), calls


def recovers(run: TinyRun, stage: str, expected: dict[str, Any]) -> str:
    code, said = command(run, stage)
    if code != 0:
        return f"resume ended with {code}: {said}"
    return differences(expected, look(run.folder))


def some(points: Sequence[int], few: int) -> list[int]:
    """All points, or `few` of them spread evenly, the last one among them."""
    if not few or len(points) <= few:
        return list(points)
    return [points[(i + 1) * len(points) // few - 1] for i in range(few)]


# what a folder holds


def look(folder: Path) -> dict[str, Any]:
    """Everything in a run folder that must not depend on what happened on the way."""
    from janus4o.rows import open_rows, pictures_of
    from janus4o.synth.sample import Pipeline, State
    from janus4o.synth.store import Store

    named = {name for row in open_rows(folder) for name in pictures_of(row)}
    seen: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name, data = str(path.relative_to(folder)), path.read_bytes() if path.is_file() else b""
        if path.is_dir() or name in TIMED or path.name == ".lock":
            continue
        if name.startswith("blobs/") and path.name not in named:
            # A picture nobody uses: of a sample that came to nothing, or whose line was lost.
            digest = path.name.partition(".")[0]
            seen[f"broken {name}"] = hashlib.sha256(data).hexdigest() == digest
            if seen[f"broken {name}"]:
                del seen[f"broken {name}"]
        elif name == "metrics.jsonl":
            lines = [json.loads(line) for line in data.splitlines()]
            seen[name] = [{k: v for k, v in one.items() if k != "seconds"} for one in lines]
        else:
            seen[name] = hashlib.sha256(data).hexdigest()
    store = Store(folder)
    try:
        for pipeline in Pipeline:
            standings = list(store.standings(pipeline))
            accepted = [s.sample.id for s in standings if s.state is State.ACCEPTED]
            seen[f"{pipeline.value} accepted"] = accepted
            seen[f"{pipeline.value} twice"] = len(accepted) - len(set(accepted))
    finally:
        store.close()
    histories = (folder / "dataset" / "provenance.jsonl").read_text("utf-8").splitlines()
    seen["provenance"] = [json.loads(line)["id"] for line in histories]
    return seen


def differences(expected: dict[str, Any], found: dict[str, Any]) -> str:
    return "; ".join(
        f"{name} is {found.get(name, 'absent')}, not {expected.get(name, 'absent')}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    )


# children


def command(
    run: TinyRun,
    stage: str,
    point: int = 0,
    mode: int = OFF,
    number: int = 0,
    log: Path | None = None,
) -> tuple[int, str]:
    """Runs a stage in a child of its own, hurt as told; its exit code and what it said."""

    def work() -> None:
        if mode != OFF:
            handle = os.open(log, os.O_WRONLY | os.O_APPEND) if log else -1
            shim = ctypes.CDLL(None)
            shim.faults_arm(os.fsencode(run.folder), ctypes.c_long(point), mode, number, handle)
        os._exit(act(run.words(stage)))

    code = wait(fork(work, run))
    return code, (run.work / "said").read_text()


def act(words: list[str]) -> int:
    from janus4o.cli import app

    return app.main(words)


def in_child(work: Callable[[], None], run: TinyRun) -> None:
    assert wait(fork(work, run)) == 0, (run.work / "said").read_text()


def fork(work: Callable[[], None], run: TinyRun) -> int:
    """A child that does `work` and says everything into `said`."""
    pid = os.fork()
    if pid == 0:
        code = 77
        try:
            out = os.open(run.work / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
