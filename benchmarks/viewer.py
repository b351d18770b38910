"""How fast `janus4o view` answers over HTTP, at the published size.

    python benchmarks/exports.py make        write the stand-in once (92,256 rows)
    python benchmarks/viewer.py              ask for pages of it: first, middle, last, each filter

Verdicts of checks are drawn at random; one row in ten fails one. What is measured is the whole answer as a
browser on this machine gets it. Pictures come after the page and have lines of their own.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import random
import resource
import statistics
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

from janus4o.rows import open_rows
from janus4o.serve.viewer.album import open_album
from janus4o.serve.viewer.index import Index, parse
from janus4o.serve.viewer.server import Server
from janus4o.synth.checking.run import CHECKS_FILE

CHECKS = ("decodes", "resolution", "not_flat", "new_picture", "new_prompt")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--folder", type=Path, default=Path("runs/stand-in/published"))
    asked.add_argument("--times", type=int, default=20)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as verdicts, Server("127.0.0.1", 0) as server:
        # In a process of its own, so that its memory is not taken for the viewer's.
        maker = multiprocessing.get_context("spawn").Process(
            target=check, args=(options.folder, Path(verdicts))
        )
        maker.start()
        maker.join()
        began = time.perf_counter()
        album = open_album(options.folder, Path(verdicts))
        opened = time.perf_counter() - began
        server.show(album, options.folder)
        indexed = time.perf_counter() - began - opened
        print(f"{len(album):,} rows opened in {opened:.1f} s, indexed in {indexed:.1f} s")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        measure(server, Index(album), options.times)
        server.shutdown()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory at most {peak:,.0f} MB")


def measure(server: Server, index: Index, times: int) -> None:
    print(f"{'':<36} {'rows':>7} {'median ms':>10} {'slowest ms':>11}")
    length, worst = len(server.album), 0.0
    places = {"first": {}, "middle": {"after": f"{length // 2}"}, "last": {"before": "-1"}}
    for name, filters in filters_of(server).items():
        for where, keys in places.items():
            address = "/?" + urlencode({**filters, **keys})
            spent = [fetch(server, address) for _ in range(times)]
            line(f"{name}: {where}", index.page(parse(filters)).total, spent)
            worst = max(worst, *spent)
    some = [n * (length - 1) // times for n in range(times)]
    for name, address in (
        ("one row", "/entries/{}"),
        ("a small picture", "/small/{}/0"),
        ("a stored picture", "/pictures/{}/0"),
    ):
        line(name, 1, [fetch(server, address.format(key)) for key in some])
    print(f"slowest page {worst:.0f} ms")


def filters_of(server: Server) -> dict[str, dict[str, str]]:
    last = server.album[len(server.album) - 1]
    one = {"task": last.task} | ({"pipeline": last.pipeline} if last.pipeline else {})
    return {
        "everything": {},
        "family": {"kind": last.kind},
        "pipeline and task": {name: value for name, value in one.items() if value},
        "fails a check": {"check": "new_picture"},
        "passes every check, family": {"check": "passed", "kind": last.kind},
        "words all hold": {"words": "usual length"},
        "words few hold": {"words": "11 a prompt"},
        "words none holds": {"words": "nowhere to be found"},
    }


def check(folder: Path, out: Path) -> None:
    rows, rng = open_rows(folder), random.Random(0)
    with (out / CHECKS_FILE).open("w") as file:
        file.write(json.dumps({"digest": rows.digest, "rows": len(rows)}) + "\n")
        for _ in rows:
            bad = rng.choice(CHECKS) if rng.random() < 0.1 else ""
            said = {
                name: {"figure": 1.0, "passed": name != bad, "why": "drawn" if name == bad else ""}
                for name in CHECKS
            }
            file.write(json.dumps({"checks": said}) + "\n")


def fetch(server: Server, address: str) -> float:
    """Milliseconds until the whole answer is here."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.request("GET", address)
    reply = connection.getresponse()
    body = reply.read()
    assert reply.status == 200, (address, reply.status, body[-300:])
    connection.close()
    return 1000 * (time.perf_counter() - began)


def line(name: str, rows: int, spent: list[float]) -> None:
    print(f"{name:<36} {rows:>7,} {statistics.median(spent):>10.1f} {max(spent):>11.1f}")


if __name__ == "__main__":
    main()
