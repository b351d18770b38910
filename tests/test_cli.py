"""The command line: fast help, one line for each error, documented exit codes, a quiet stdout."""

from __future__ import annotations

import ast
import importlib
import io
import json
import resource
import signal
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from janus4o.cli import app, console
from janus4o.errors import BadInput, BudgetStop, Interrupted, Janus4oError, Refused, UsageError


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(*args: str) -> Done:
    """A command line in this process: quick, and all that most tests need."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = app.main(args)
    return Done(code, out.getvalue(), err.getvalue())


def spawn(*args: str) -> Done:
    """A command line in a process of its own."""
    command = [sys.executable, "-m", "janus4o.cli.app", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """`main` listens to SIGTERM; pytest gets its own handler back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_help_names_every_verb_and_is_fast() -> None:
    seconds = []
    for _ in range(3):
        before = processor_seconds()
        done = spawn("--help")
        seconds.append(processor_seconds() - before)
    assert done.returncode == 0
    for verb in app.VERBS:
        assert f" {verb} " in done.stdout, verb
    # Processor time, because a wall clock on a busy machine measures its neighbours.
    assert min(seconds) < 0.5, seconds


def processor_seconds() -> float:
    """What ended children of this process computed so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def entry_points(file: Path) -> set[str]:
    """ "command" or "app", where the file defines it."""
    found = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found & {"command", "app"}


@pytest.mark.parametrize("verb", app.VERBS)
def test_every_verb_has_a_file_and_a_help(verb: str) -> None:
    file = Path(app.__file__).with_name(f"{app.VERBS[verb].file or verb}.py")
    assert file.is_file(), f"{verb} is listed but {file.name} does not exist"
    assert entry_points(file)
    done = run(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"janus4o {verb}" in done.stdout


def test_every_entry_point_is_a_verb() -> None:
    files = {path.stem for path in Path(app.__file__).parent.glob("*.py") if entry_points(path)}
    assert files == {verb.file or name for name, verb in app.VERBS.items()}


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("janus4o ")


@pytest.mark.parametrize(
    "args",
    [["nonsense"], ["doctr"], ["doctor", "--nonsense"], ["run"], ["doctor", "a", "b", "c"]],
)
def test_a_usage_error_is_one_line_with_a_remedy(args: list[str]) -> None:
    done = run(*args)
    assert done.returncode == UsageError.exit_code
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "→" in done.stderr


@pytest.mark.parametrize("args", [[], ["eval"], ["sketch"]])
def test_called_with_nothing_to_do_shows_the_help(args: list[str]) -> None:
    done = run(*args)
    assert done.returncode == UsageError.exit_code
    assert "Usage: janus4o" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("verb", ["run", "plan", "synth", "encode", "train"])
def test_a_bad_recipe_is_one_line_and_exit_3(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text("train: {stpes: 5}\n", encoding="utf-8")
    for name, says in (("absent.yaml", "does not exist"), ("wrong.yaml", "did you mean 'steps'")):
        done = run(verb, name)
        assert done.returncode == BadInput.exit_code, done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert says in done.stderr
        assert "→" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"wrong.yaml"}, "something was written"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (UsageError("m", "r"), 2),
        (BadInput("m", "r"), 3),
        (Refused("m", "r"), 4),
        (BudgetStop("m", "r"), 5),
        (Interrupted("m", "r"), 6),
        (Janus4oError("m\nover two lines", "r"), 1),
        (KeyboardInterrupt(), 6),
        (ValueError("surprise"), 1),
    ],
)
def test_every_error_ends_with_its_code(
    raised: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> None:
        raise raised

    monkeypatch.delenv("JANUS4O_TRACEBACK", raising=False)
    monkeypatch.setattr(importlib.import_module("janus4o.cli.doctor"), "command", command)
    assert app.main(["doctor"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "→" in err


def test_a_defect_shows_its_traceback_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    def command() -> None:
        raise ValueError("surprise")

    monkeypatch.setenv("JANUS4O_TRACEBACK", "1")
    monkeypatch.setattr(importlib.import_module("janus4o.cli.doctor"), "command", command)
    with pytest.raises(ValueError, match="surprise"):
        app.main(["doctor"])


def test_a_verb_without_its_libraries_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(app.importlib, "import_module", absent)
    assert app.main(["train", "recipe.yaml"]) == Refused.exit_code
    assert "pip install 'janus4o[model]'" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_6(number: signal.Signals) -> None:
    # A shell starts background jobs deaf to SIGINT, and children inherit that: hear it again.
    code = """
        import signal, sys, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from janus4o.cli import app, doctor
        def command() -> None:
            print("ready", flush=True)
            time.sleep(60)
        doctor.command = command
        sys.exit(app.main(["doctor"]))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == Interrupted.exit_code
    assert len(err.splitlines()) == 1


def test_doctor_answers_programs_on_stdout_alone() -> None:
    done = spawn("doctor", "--json")
    findings = json.loads(done.stdout)
    assert {"Python", "torch", "sketch-base", "disk"} <= {finding["what"] for finding in findings}
    missing = [finding for finding in findings if finding["state"] == "missing"]
    assert done.returncode == (Refused.exit_code if missing else 0)
    assert all(finding["remedy"] for finding in missing)


def test_progress_in_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with console.progress(2000, "encode", "rows") as progress:
        for done in range(1000, 2001, 100):
            progress.update(done, loss=1.25)
        assert progress.seconds_left == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "encode: 1,000/2,000 rows  loss 1.25"
    assert all("left" in line for line in lines[1:-1])
    assert lines[-1].startswith("encode: 2,000/2,000 rows")
    # Reports are two ticks of this clock apart; what was done before does not count for the rate.
    assert "50/s" in lines[-1]


def test_progress_closes_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with console.progress(None, "synth", "rows") as progress:
            progress.update(3, spend="$0.10")
            raise BudgetStop("over budget")

    with pytest.raises(BudgetStop):
        work()
    assert "3 rows  spend $0.10" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.44, "0.4 s"), (59, "59 s"), (200, "3 min 20 s"), (3600, "1 h 00 min"), (-1, "0.0 s")],
)
def test_durations(seconds: float, said: str) -> None:
    assert console.duration(seconds) == said


def test_a_plain_table_lines_up(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("task", "score", "n"), [("colors", 0.9, 120), ("counting", None, 7)], "scores")
    assert capsys.readouterr().out.splitlines() == [
        "scores",
        "task      score    n",
        "colors    0.900  120",
        "counting           7",
    ]


@pytest.mark.parametrize(
    ("line", "number", "offered"),
    [("janus4o st", 1, {"status"}), ("janus4o status --", 2, {"--json", "--help"})],
)
def test_a_shell_completes_verbs_and_options(
    line: str,
    number: int,
    offered: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("_JANUS4O_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(number))
    with pytest.raises(SystemExit):
        app.main([])
    assert set(capsys.readouterr().out.split()) == offered


def test_hooks_use_tools_that_setup_installs(root: Path) -> None:
    hooks = [
        hook
        for repo in yaml.safe_load((root / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
        for hook in repo["hooks"]
    ]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    installed = " ".join(project["optional-dependencies"]["dev"])
    assert "pre-commit" in installed
    for hook in hooks:
        assert hook["language"] == "system"  # nothing is fetched when somebody commits
        program = Path(hook["entry"].split()[0])
        assert program.parent == Path(".venv/bin")
        assert program.name == "python" or program.name in installed


def test_a_bar_learns_its_total_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that opens its bar before it has counted still shows how far it is."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress(None, "train", "steps") as progress:
        progress.total = 10
        progress.update(5)
        bar = progress._bars.tasks[0]  # type: ignore[attr-defined]
        assert (bar.total, bar.percentage) == (10, 50)


def test_a_bar_of_nothing_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress(None, "train", "steps"):
        pass
    assert terminal.getvalue() == ""
