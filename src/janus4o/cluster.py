"""Work on the machines of a Ray cluster: processes there begin once and then work, item by item.

What is sent there is the very function that works here, so the results are those of this machine, but for what
networks round otherwise on other processors. Ray finds the cluster by its own rules: RAY_ADDRESS, else one that
`ray start` began on this machine, else one of this machine's own that ends with this process.
"""

from __future__ import annotations

import importlib
import os
import pickle
import re
import socket
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, Self, TypeVar

from janus4o.errors import Interrupted, Refused

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_A_PROCESS = 2
"""Items a process has at most: the next one travels while it works."""
MOST_PROCESSES = 256
CONNECT_SECONDS = 10
CREATION = "creation task"
"""What Ray says of a process that could not even be made."""
PATIENCE_SECONDS = 60
"""How long a process may take to begin before it is said that there may be no room for it."""
RETRIES = 3
"""Deaths of processes (a machine lost, memory gone) that an item outlives."""


class Backend(StrEnum):
    """Where work that wants many cores or GPUs is done."""

    PLAIN = "plain"
    RAY = "ray"


class RayPool(Generic[Item, Result]):
    """Processes on a Ray cluster that `begin` and then turn items into results.

    Args:
        begin: called in every process with `args`; returns the function that does the work. Functions,
            items and results must pickle; what `args` hold is made there anew.
        heavy: it runs a network: one process a GPU or, where the cluster has none, one a machine with
            all its cores. Otherwise one a core.

    Raises:
        Refused: Ray is not installed, or the cluster does not answer.
    """

    def __init__(
        self, begin: Callable[..., Callable[[Item], Result]], *args: Any, heavy: bool = False
    ) -> None:
        self._ray = connect()
        self._kind = self._ray.remote(_Worker)
        self._how = self._ray.put((_version(), begin, args))
        self._places: dict[Any, dict[str, Any]] = {}
        """Process → what it asked of the cluster. Those that died are not among them."""
        self._change = Lock()
        self._closed = False
        self._ready: SimpleQueue[Any] = SimpleQueue()
        """Processes that have room for an item; an error instead when there are none any more."""
        places = _places(self._ray, heavy)
        self.processes = len(places)
        self._threads = ThreadPoolExecutor((AT_A_PROCESS + 1) * len(places), "ray")
        for place in places:
            self._start(place)

    def submit(self, item: Item) -> Future[Result]:
        """Its result; raises what the work raises, and Interrupted where its processes died."""
        return self._threads.submit(self._do, item)

    def close(self) -> None:
        """Ends the processes; what is not done is dropped. May be called again."""
        with self._change:
            self._closed = True
            for worker in self._places:
                self._ray.kill(worker)
        self._ready.put(Interrupted("the processes on the Ray cluster were ended"))
        self._threads.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, place: dict[str, Any], deaths: int = 0) -> None:
        worker = self._kind.options(**place).remote()
        self._places[worker] = place
        # A thread of its own: those of the pool may all be waiting for what it brings.
        Thread(target=self._welcome, args=(worker, deaths), daemon=True).start()

    def _welcome(self, worker: Any, deaths: int) -> None:
        """Hands out a process when it has begun; one that dies meanwhile is replaced, but not for ever."""
        begun = worker.begin.remote([self._how])
        try:
            if not self._ray.wait([begun], timeout=PATIENCE_SECONDS)[0] and self._ready.empty():
                warnings.warn(
                    "the Ray cluster has no room yet: see `ray status` for who holds its cores and GPUs",
                    stacklevel=1,
                )
            _unwrap(self._ray.get(begun))
        except self._ray.exceptions.RayError as error:
            if CREATION in str(error):
                self._ready.put(
                    Refused(
                        f"janus4o does not start on the Ray cluster: {_line_of(error)}",
                        f"install janus4o {_version()} on every machine of it",
                    )
                )
            elif deaths < RETRIES:
                self._replace(worker, deaths + 1)
            else:
                with self._change:
                    self._places.pop(worker, None)
                    if not self._places:
                        self._ready.put(_died(error))
        except Exception as error:
            self._ready.put(error)
        else:
            for _ in range(AT_A_PROCESS):
                self._ready.put(worker)

    def _do(self, item: Item) -> Result:
        """One process after another is tried, should they die: a machine may be lost."""
        deaths = 0
        while True:
            worker = self._ready.get()
            if isinstance(worker, Exception):
                self._ready.put(worker)  # so it is for everybody
                raise worker
            if worker not in self._places:
                continue
            try:
                found: Result = _unwrap(self._ray.get(worker.do.remote(item)))
            except self._ray.exceptions.RayTaskError:  # it lives; what it was given cannot be used
                self._ready.put(worker)
                raise
            except self._ray.exceptions.RayError as error:
                self._replace(worker)
                deaths += 1
                if deaths > RETRIES or self._closed:
                    raise _died(error) from None
            except Exception:
                self._ready.put(worker)
                raise
            else:
                self._ready.put(worker)
                return found

    def _replace(self, worker: Any, deaths: int = 0) -> None:
        with self._change:  # two items may see it die
            place = self._places.pop(worker, None)
            if place is not None and not self._closed:
                self._ray.kill(worker)  # it may only be unreachable, and hold its GPU
                self._start(place, deaths)


def _died(error: Exception) -> Interrupted:
    return Interrupted(
        f"processes on the Ray cluster died again and again: {_line_of(error)}",
        "what is done is kept: run the same command again; if memory was short, give it more",
    )


def _line_of(error: Exception) -> str:
    """The last line of Ray's, which names the cause, without colours."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _unwrap(found: Any) -> Any:
    if isinstance(found, _Failed):
        raise found.error
    return found


class _Failed:
    """An error on its way back: Ray would wrap it."""

    def __init__(self, error: Exception) -> None:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        self.error = error


class _Worker:
    """The process on the cluster."""

    def __init__(self) -> None:
        self._work: Callable[[Any], Any] | None = None

    def begin(self, how: list[Any]) -> _Failed | None:
        """`how` holds a reference to (version of janus4o, begin, args)."""
        try:
            asked, begin, args = importlib.import_module("ray").get(how[0])
            if asked != _version():
                raise Refused(
                    f"the Ray cluster has janus4o {_version()}, this machine {asked}",
                    "install the same version on both",
                )
            self._work = begin(*args)
        except Exception as error:
            return _Failed(error)
        return None

    def do(self, item: Any) -> Any:
        assert self._work is not None
        try:
            return self._work(item)
        except Exception as error:
            return _Failed(error)


def connect() -> Any:
    """The package `ray`, connected to a cluster; raises Refused."""
    try:
        ray = importlib.import_module("ray")
    except ModuleNotFoundError:
        raise Refused("Ray is not installed", "pip install 'janus4o[ray]'") from None
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = os.environ.get("RAY_ADDRESS")
        try:
            _knock(address or "")
            ray.init(logging_level="ERROR", log_to_driver=False)
        except Exception as error:  # ConnectionError, RuntimeError for other versions, and more
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise Refused(
                f"Ray at RAY_ADDRESS={address} does not answer: {lines[0]}"
                if address
                else f"Ray does not start: {lines[0]}",
                "see `ray status`, or unset RAY_ADDRESS for a cluster of this machine's own"
                if address
                else "see the logs in /tmp/ray/session_latest/logs",
            ) from None
    return ray


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at HOST:PORT; Ray itself tries that for two minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _places(ray: Any, heavy: bool) -> list[dict[str, Any]]:
    """What each process asks of the cluster, as it is now."""
    there = ray.cluster_resources()
    gpus, cores = int(there.get("GPU", 0)), int(there.get("CPU", 0))
    if not heavy:
        return [{"num_cpus": 1}] * max(1, min(cores, MOST_PROCESSES))
    if gpus:
        return [{"num_gpus": 1}] * min(gpus, MOST_PROCESSES)
    affinity = importlib.import_module(
        "ray.util.scheduling_strategies"
    ).NodeAffinitySchedulingStrategy
    nodes = [
        (node["NodeID"], int(node["Resources"]["CPU"]))
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    ][:MOST_PROCESSES]
    return [
        {"num_cpus": cores, "scheduling_strategy": affinity(node, soft=True)}
        for node, cores in nodes
    ] or [{"num_cpus": 1}]


def _version() -> str:
    try:
        return version("janus4o")
    except PackageNotFoundError:  # run from its source
        return "of the source"
