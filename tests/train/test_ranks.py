"""Several processes learn what one learns, and go on from each other's checkpoints."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import time

import pytest
import torch
import yaml

from janus4o.cli import app
from janus4o.errors import Interrupted
from janus4o.model.loading import load_model, save_model

from .conftest import write_data_set


@pytest.fixture
def recipe(tmp_path, fresh_model):
    """Makes a recipe whose run folder has encoded data; `changes` are of its `train`."""
    save_model(fresh_model(), tmp_path / "init")

    def make(name, **changes):
        write_data_set(tmp_path / name)
        train = {"steps": 4, "batch": 6, "micro_batch": 2, "rate": 1e-2, "warmup": 0.2, **changes}
        made = {
            "name": name,
            "output": str(tmp_path / name),
            "model": {"init": str(tmp_path / "init"), "fit": "letterbox"},
            "train": {"checkpoint_every": 100, "validation": 3, "validate_every": 2, **train},
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(made))
        assert app.main(["encode", str(path)]) == 0
        return path

    return make


SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["janus4o.cli.train", "janus4o.train.loop", "transformers.models.janus.modeling_janus"]
)
"""Imports torch once; every rank is a fork of it."""
RANK = """
import os
out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(out, 1), os.dup2(out, 2)
os.environ.update(env)
from janus4o.cli import app
os._exit(app.main(words))
"""


class Rank:
    """A process of a training, with the face of `subprocess.Popen`."""

    def __init__(self, words, env, said):
        self._said = said
        what = {"words": words, "env": env, "said": str(said)}
        self._process = SERVER.Process(target=exec, args=(RANK, what))
        self._process.start()

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        self._process.kill()

    def communicate(self, timeout):
        self._process.join(timeout)
        assert self._process.exitcode is not None, self._said.read_text()
        return self._said.read_text(), None


def start(recipe, processes, *changes):
    """What torchrun does, without its own process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["train", str(recipe), "--device", "cpu", *changes]
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        Rank(
            words,
            {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            recipe.with_suffix(f".said{rank}"),
        )
        for rank in range(processes)
    ]


def together(recipe, processes, *changes):
    for one in start(recipe, processes, *changes):
        said, _ = one.communicate(timeout=240)
        assert one.returncode == 0, said
        assert "Warning" not in said


def lines(recipe):
    text = recipe.with_suffix("").joinpath("metrics.jsonl").read_text()
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()
    ]


def weights(recipe, step=4):
    folder = recipe.with_suffix("") / "checkpoints" / str(step)
    return dict(load_model(folder).network.named_parameters())


def assert_alike(got, wanted):
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert a["validation" if "validation" in b else "step"] == pytest.approx(
            b.get("validation", b["step"]), rel=1e-5
        )
        assert (a["t2i_loss"] is None) == (b["t2i_loss"] is None)
        for key in ("loss", "grad_norm"):
            assert a[key] == pytest.approx(b[key], rel=1e-6 if a["step"] == 1 else 1e-4), key


CASES = [
    pytest.param(2, {}, id="2-cut"),
    pytest.param(
        2, {"batch": 1, "weight_decay": 0.5}, id="2-cut-one-row", marks=pytest.mark.stress
    ),
    pytest.param(
        2,
        {"shard": "none", "micro_batch": None, "packing": 128},
        id="2-packed-whole",
        marks=pytest.mark.stress,
    ),
    pytest.param(2, {"lora": {"rank": 2}}, id="2-lora"),
    pytest.param(4, {}, id="4-cut", marks=pytest.mark.stress),
    pytest.param(4, {"preset": "official"}, id="4-official", marks=pytest.mark.stress),
]


@pytest.mark.parametrize(("processes", "changes"), CASES)
def test_several_processes_learn_what_one_learns(recipe, processes, changes):
    one, several = recipe("one", **changes), recipe("several", **changes)
    assert app.main(["train", str(one), "--device", "cpu"]) == 0
    together(several, processes)
    assert_alike(lines(several), lines(one))


def test_two_go_on_to_the_bit_and_one_goes_on_from_two(recipe):
    path = recipe("run", steps=5, checkpoint_every=1)
    together(path, 2, "train.keep_checkpoints=9")
    whole, wanted = weights(path, 5), lines(path)

    def forget():
        for step in (3, 4, 5):
            shutil.rmtree(path.with_suffix("") / "checkpoints" / str(step))

    forget()
    together(path, 2, "train.keep_checkpoints=9")
    for name, tensor in weights(path, 5).items():
        assert torch.equal(tensor, whole[name]), name
    assert lines(path) == wanted
    forget()
    assert app.main(["train", str(path), "--device", "cpu"]) == 0
    assert_alike(lines(path), wanted)


def test_a_signal_to_one_stops_all_with_a_checkpoint(recipe):
    path = recipe("long", steps=100_000)
    started = start(path, 2)
    log = path.with_suffix("") / "metrics.jsonl"
    for _ in range(600):
        if log.is_file() and log.stat().st_size:
            break
        time.sleep(0.1)
    started[1].send_signal(signal.SIGTERM)
    for one in started:
        said, _ = one.communicate(timeout=240)
        assert one.returncode == Interrupted.exit_code, said
    [step] = (path.with_suffix("") / "checkpoints").iterdir()
    assert (step / "trainer" / "state.json").is_file()
    assert len(lines(path)) == int(step.name)


def until(path, count, started):
    """Waits until the log has so many lines, or a process has ended."""
    log = path.with_suffix("") / "metrics.jsonl"
    for _ in range(2400):
        if log.is_file() and len(log.read_bytes().splitlines()) >= count:
            return
        if any(one.poll() is not None for one in started):
            return
        time.sleep(0.05)
    raise AssertionError("no step in two minutes")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_is_one_line_and_the_last_checkpoint_is_whole(recipe, victim):
    path = recipe("run", steps=100_000, checkpoint_every=2, keep_checkpoints=9)
    started = start(path, 2)
    until(path, 5, started)
    started[victim].kill()
    said, _ = started[1 - victim].communicate(timeout=240)
    started[victim].communicate(timeout=240)
    assert started[1 - victim].returncode == Interrupted.exit_code, said
    [line] = [line for line in said.splitlines() if "is gone" in line]
    assert "the same command goes on" in line
    assert "Traceback" not in said
    steps = sorted(int(p.name) for p in (path.with_suffix("") / "checkpoints").glob("[0-9]*"))
    assert steps
    assert steps[-1] >= 2
    weights(path, steps[-1])


KILLS = 10


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_random_steps_two_learn_the_same_to_the_bit(recipe, seed):
    rng = random.Random(seed)
    how = {"steps": 6 * KILLS, "checkpoint_every": 1}
    whole, killed = recipe("whole", **how), recipe("killed", **how)
    together(whole, 2)
    kills = 0
    while True:
        started = start(killed, 2)
        done = len(lines(killed)) if (killed.with_suffix("") / "metrics.jsonl").is_file() else 0
        if kills < KILLS:
            until(killed, done + rng.randint(1, 2), started)
            time.sleep(rng.random() / 5)
            rng.choice(started).kill()
            kills += 1
        said = [one.communicate(timeout=240)[0] for one in started]
        codes = {one.returncode for one in started}
        if codes == {0}:
            break
        assert codes <= {0, -signal.SIGKILL, Interrupted.exit_code}, said
    assert kills == KILLS
    assert lines(killed) == lines(whole)
    wanted = weights(whole, 6 * KILLS)
    for name, tensor in weights(killed, 6 * KILLS).items():
        assert torch.equal(tensor, wanted[name]), name
