"""The voting page on this machine: four addresses, one file that grows.

    GET  /                      the page
    GET  /pictures/<token>.png  a picture of the contest; tokens are looked up, never joined to a path
    POST /start  {rater, session, same}  → {session, order, done}, or {taken} for another's name
    POST /vote   {rater, session, place, follows, looks, ms}  → {}

A rater is a name and a session. Who comes with a known name and another session is asked whether they
are the same person; if they say so they go on in the first session.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from janus4o.errors import BadInput, Refused
from janus4o.evaluate.arena.contest import PICTURES_FOLDER, VOTES_FILE, Contest, first_fault
from janus4o.evaluate.arena.order import order
from janus4o.evaluate.arena.votes import Vote, append_vote, read_votes
from janus4o.evaluate.evidence import Problem
from janus4o.serve.arena.page import render, trials_to_json
from janus4o.serve.local import LocalHandler, LocalServer

MAX_BODY = 10_000


class Booth:
    """What the addresses do. `problems` are lines of the votes file that do not count."""

    def __init__(self, contest: Contest, folder: Path) -> None:
        self.contest = contest
        self.page = render(contest).encode()
        self.problems: list[Problem] = []
        self._folder = folder
        self._votes = folder / VOTES_FILE
        self._lock = threading.Lock()
        self._sessions: dict[str, str] = {}
        self._done: dict[str, set[int]] = {}
        if self._votes.is_file() and self._votes.stat().st_size:
            votes, self.problems = read_votes(contest, [self._votes])
            for vote, _ in votes:
                self._sessions[vote.rater] = vote.session
                self._done.setdefault(vote.rater, set()).add(vote.place)

    def picture(self, name: str) -> bytes | None:
        """The PNG of this name; None for whatever is not in the contest."""
        token = name.removesuffix(".png")
        if name == token or token not in self.contest.pictures:
            return None
        return (self._folder / PICTURES_FOLDER / f"{token}.png").read_bytes()

    def start(self, rater: str, session: str, same: bool) -> dict[str, Any]:
        with self._lock:
            known = self._sessions.get(rater, session)
            if known != session and not same:
                return {"taken": True}
            done = sorted(self._done.get(rater, ()))
        trials = trials_to_json(order(self.contest, rater))
        return {"session": known, "order": trials, "done": done}

    def vote(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Appends the vote, with what stands at its place of the rater's order.

        Raises:
            BadInput: it is no vote, or there is no such place.
            Refused: the name belongs to another session.
        """
        rater, place = answer.get("rater"), answer.get("place")
        trials = order(self.contest, rater) if isinstance(rater, str) else []
        if not isinstance(place, int) or not 0 <= place < len(trials):
            raise BadInput("there is no such pair", "reload the page")
        trial = trials[place]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        own = {"contest": self.contest.id, "seat": rater, "at": now, "scripted": ""}
        own |= {"item": trial.item, "left": trial.left, "right": trial.right}
        try:
            vote = Vote.model_validate({**answer, **own})
        except ValidationError as error:
            raise BadInput(first_fault(error), "reload the page") from error
        with self._lock:
            if self._sessions.setdefault(vote.rater, vote.session) != vote.session:
                raise Refused("somebody else votes under this name", "reload, choose another")
            append_vote(self._votes, vote)
            self._done.setdefault(vote.rater, set()).add(place)
        return {}


class Handler(LocalHandler):
    server: Server

    def do_GET(self) -> None:
        place = self.path.partition("?")[
            0
        ]  # what follows, as links that went round carry it, says nothing
        name = place.removeprefix("/pictures/")
        if not self.is_ours():
            self._reply(403, {"error": "ask for this page by the address it was given with"})
        elif place == "/":
            self.send(200, "text/html; charset=utf-8", self.server.booth.page)
        elif name != place and (found := self.server.booth.picture(name)) is not None:
            self.send(200, "image/png", found)
        else:
            self._reply(404, {"error": "no such address"})

    def do_POST(self) -> None:
        kind = self.headers.get_content_type()
        length = self.headers.get("Content-Length", "")
        # A page of another site may send forms here, but not JSON.
        if not self.is_ours() or kind != "application/json":
            return self._refuse(403, "only the page itself may vote")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return self._refuse(413, "too long, or of no stated length")
        try:
            body = json.loads(self.rfile.read(int(length)))
            if not isinstance(body, dict):
                raise BadInput("not a JSON object", "reload the page")
            place = self.path.partition("?")[0]
            if place == "/start":
                rater, session = body.get("rater"), body.get("session")
                if not (isinstance(rater, str) and isinstance(session, str) and rater.strip()):
                    raise BadInput("a name and a session are needed", "reload the page")
                self._reply(200, self.server.booth.start(rater, session, body.get("same") is True))
            elif place == "/vote":
                self._reply(200, self.server.booth.vote(body))
            else:
                self._reply(404, {"error": "no such address"})
        except Refused as error:
            self._reply(409, {"error": str(error)})
        except (BadInput, ValueError, RecursionError) as error:
            self._reply(400, {"error": str(error)})
        except OSError as error:
            self._reply(500, {"error": f"the vote could not be written: {error.strerror}"})

    def _refuse(self, status: int, words: str) -> None:
        self.close_connection = True  # its body is not read
        self._reply(status, {"error": words})

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        self.send(status, "application/json", json.dumps(body).encode())


class Server(LocalServer):
    """The voting page of one booth; see `LocalServer`."""

    def __init__(self, booth: Booth, host: str, port: int) -> None:
        super().__init__(Handler, host, port)
        self.booth = booth
