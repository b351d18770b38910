import importlib.util
import shutil
import sys
from pathlib import Path

import pytest


def _fake_run_module():
    path = Path(__file__).with_name("fake_run.py")
    spec = importlib.util.spec_from_file_location("fake_run", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_run"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake_run():
    """The module that makes run folders; see fake_run.py."""
    return _fake_run_module()


@pytest.fixture(scope="session")
def finished_run(fake_run, tmp_path_factory):
    return fake_run.make(tmp_path_factory.mktemp("finished") / "run", rows=30, per_task=8)


@pytest.fixture
def run_folder(finished_run, tmp_path):
    """A finished run of its own for every test, to be damaged at will."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
