"""What decided each item's score, read again from the evidence a score file names.

Evidence is taken only where its hash is the score file's, and scored with the score file's options, so
that what is shown is what was counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from janus4o.boards import Answered, Box, Exhibit, Showing
from janus4o.errors import DataError
from janus4o.evaluate.board import Entry
from janus4o.evaluate.dpg.mode import Mode as DpgMode
from janus4o.evaluate.dpg.questions import Question, read_rows
from janus4o.evaluate.dpg.rules import YES, settle, walk
from janus4o.evaluate.dpg.scoring import Run, item_of, read_answers, score_run
from janus4o.evaluate.dpg.tiles import SUFFIXES
from janus4o.evaluate.evidence import hash_file, read_lines, read_object
from janus4o.evaluate.geneval.evidence import Evidence, read_evidence
from janus4o.evaluate.geneval.rules import Verdict
from janus4o.evaluate.imgedit.edits import Edit, read_edits
from janus4o.evaluate.imgedit.mode import Mode as ReplyMode
from janus4o.evaluate.imgedit.replies import HIGHEST, LOWEST
from janus4o.evaluate.imgedit.scoring import Judged, judge_lines, judge_results

Folders = Sequence[Path]


def show(entry: Entry, evidence: Folders, pictures: Folders, sources: Folders) -> Showing:
    """An entry with its items, worst first.

    Args:
        evidence: folders that may hold the files the score file names, besides its own.
        pictures: folders of the system's pictures, in the benchmark's layout.
        sources: folders of what was edited.
    """
    exhibits: list[Exhibit] = []
    missing = ""
    try:
        files = find_evidence(entry, [entry.path.parent, *evidence])
        if entry.benchmark == "GenEval":
            exhibits = _geneval(files[0], pictures)
        elif entry.benchmark == "DPG-Bench":
            exhibits = _dpg(entry, files, pictures)
        else:
            exhibits = _imgedit(entry, files, pictures, sources)
    except DataError as error:
        missing = str(error)
    exhibits.sort(key=lambda one: -1.0 if one.share is None else one.share)
    problems = tuple(
        (str(p["where"]), str(p["what"]), bool(p["unscored"])) for p in entry.data["problems"]
    )
    networks = {role: name or "not named" for role, name in entry.data["networks"].items()}
    facts = {
        "score file": entry.path.name,
        "rules": str(entry.data["version"]),
        **({"mode": str(entry.data["mode"])} if entry.data["mode"] else {}),
        **networks,
        "scored": f"{entry.data['n']} {entry.data['unit']}, {entry.data['unscored']} not scored",
        "prompt set": str(entry.data["prompt_set"].get("sha256", "not known"))[:16],
        "evidence": ", ".join(f"{e['file']} {e['sha256'][:16]}" for e in entry.data["evidence"]),
    }
    return Showing(entry.system, entry.benchmark, facts, problems, tuple(exhibits), missing)


def find_evidence(entry: Entry, folders: Folders) -> list[Path]:
    """The files a score file names, where they are unchanged; raises DataError."""
    found = []
    for one in entry.data["evidence"]:
        name = Path(str(one["file"])).name
        there = [path for folder in folders if (path := folder / name).is_file()]
        same = [path for path in there if hash_file(path) == one["sha256"]]
        if not same:
            what = "was changed since" if there else "was not found"
            raise DataError(f"the evidence {name} {what}", "name its folder with --evidence")
        found.append(same[0])
    return found


def _geneval(path: Path, pictures: Folders) -> list[Exhibit]:
    evidence, _ = read_evidence(path)
    if not evidence:  # scored from a results file, which holds verdicts only
        raise DataError(
            f"{path.name} holds no detections", "score with --detections to see each picture"
        )
    return [_geneval_exhibit(one, pictures) for one in evidence]


def _geneval_exhibit(one: Evidence, pictures: Folders) -> Exhibit:
    folder, _, number = one.id.rpartition("/")
    names = [f"{folder}/samples/{number}.png", one.filename, f"{one.id}.png"]
    shown = _existing(pictures, names)
    metadata = one.metadata
    try:
        verdict = one.judge()
    except DataError as error:
        return Exhibit(
            one.id, metadata.tag, metadata.prompt, None, "not scored", error.message, (), shown
        )
    return Exhibit(
        id=one.id,
        tag=metadata.tag,
        prompt=metadata.prompt,
        share=float(verdict.correct),
        verdict="correct" if verdict.correct else "wrong",
        reason=verdict.reason,
        pictures=shown,
        boxes=tuple(_boxes(one, verdict)),
    )


def _boxes(one: Evidence, verdict: Verdict) -> Iterable[Box]:
    """What was kept, and what of the classes asked for was not."""
    wanted = {clause.name for clause in one.metadata.include}
    wanted |= {clause.name for clause in one.metadata.exclude}
    for name, rows in one.detections.items():
        kept = {tuple(row) for row in verdict.details.get(name, ())}
        colours = one.colours.get(name, ())
        for index, row in enumerate(rows.tolist()):
            is_kept = tuple(row) in kept
            if not is_kept and name not in wanted:
                continue
            colour = colours[index] if index < len(colours) else None
            label = f"{f'{colour} ' if colour else ''}{name} {row[4]:.2f}"
            yield Box(label, row[0], row[1], row[2], row[3], is_kept)


def _dpg(entry: Entry, files: Sequence[Path], pictures: Folders) -> list[Exhibit]:
    rows = read_rows(files[0])
    texts = {row["item_id"].strip(): row.get("text", "") for row in reversed(rows)}
    stored = read_answers(files[1])
    tiles = int(entry.data["scores"]["tiles"])
    mode = DpgMode(entry.data["mode"])
    run = score_run(rows, list(stored), stored, tiles, mode)
    why = {problem.where: problem.what for problem in run.problems if problem.unscored}
    exhibits = []
    for file in stored:
        item = item_of(file)
        shown = _existing(pictures, [file])
        share: float | None = None
        answers: tuple[Answered, ...] = ()
        verdict, reason = "not scored", why.get(file, "belongs to no prompt of the csv")
        if file in run.pictures:
            score = run.pictures[file]
            answers = _answered(run, item, stored[file][:tiles], mode)
            lost = sum(one.lost for one in answers)
            share, verdict = score.average, f"{100 * score.average:.1f} of 100"
            reason = f"{lost} of {len(answers)} questions lost points" if lost else ""
        exhibits.append(
            Exhibit(
                id=file,
                tag=_family(item),
                prompt=texts.get(item, ""),
                share=share,
                verdict=verdict,
                reason=reason,
                pictures=shown,
                answers=answers,
            )
        )
    return exhibits


def _answered(
    run: Run, item: str, tiles: Sequence[Mapping[str, str]], mode: DpgMode
) -> tuple[Answered, ...]:
    questions: Mapping[int, Question] = run.questions.items[item]
    count = settle if mode is DpgMode.FIXED else walk
    points = [
        count(questions, {i: float(tile[q.text] == YES) for i, q in questions.items()})
        for tile in tiles
    ]
    return tuple(
        Answered(
            q.text, tuple((tile[q.text], of[i]) for tile, of in zip(tiles, points, strict=True))
        )
        for i, q in questions.items()
    )


def _family(item: str) -> str:
    """ "partiprompts97" → "partiprompts", the part of the prompt set; numbers are one part."""
    return item.rstrip("0123456789").rstrip("_-") or "numbered"


def _imgedit(
    entry: Entry, files: Sequence[Path], pictures: Folders, sources: Folders
) -> list[Exhibit]:
    edits = read_edits(files[1])[0] if len(files) > 1 else {}
    judged, replies = read_judged(entry, files)
    return [
        _imgedit_exhibit(one, replies.get(one.edit.key), edits, pictures, sources) for one in judged
    ]


def read_judged(entry: Entry, files: Sequence[Path]) -> tuple[list[Judged], dict[str, object]]:
    """What an ImgEdit score file was made of: readings, and the replies by key."""
    mode = ReplyMode(entry.data["mode"])
    if files[0].suffix == ".json":  # {key: reply}, as the published code writes it
        edits = read_edits(files[1])[0] if len(files) > 1 else {}
        return judge_results(files[0], edits, mode)[0], read_object(files[0])
    lines, _ = read_lines(files[0])
    replies = {str(line.data.get("id")): line.data.get("reply") for line in reversed(lines)}
    return judge_lines(files[0], mode)[0], replies


def _imgedit_exhibit(
    one: Judged, reply: object, edits: Mapping[str, Edit], pictures: Folders, sources: Folders
) -> Exhibit:
    reading, edit = one.reading, edits.get(one.edit.key, one.edit)
    verdict, share = "not scored", None
    if reading.average is not None:
        share = (reading.average - LOWEST) / (HIGHEST - LOWEST)
        scores = " · ".join(map(str, reading.scores))
        verdict = f"{reading.average:.2f} of {HIGHEST} ({scores})"
    return Exhibit(
        id=one.edit.key,
        tag=one.edit.type or "no type",
        prompt=edit.prompt,
        share=share,
        verdict=verdict,
        reason=reading.why or ("the judge's scores were lowered to the first" * reading.capped),
        sources=_existing(sources, [edit.source] if edit.source else []),
        pictures=_existing(pictures, [f"{one.edit.key}.png"]),
        reply=reply if isinstance(reply, str) else "",
    )


def _existing(folders: Folders, names: Sequence[str]) -> tuple[Path, ...]:
    """The first of the names that is a picture, or a folder of them, inside one of the folders.

    Names come from evidence: one that leads out of its folder is not followed.
    """
    for folder in folders:
        inside = folder.resolve()
        for name in names:
            path = (inside / name).resolve()
            if not path.is_relative_to(inside) or path == inside:
                continue
            if path.is_file():
                return (path,)
            if path.is_dir():
                return tuple(p for p in sorted(path.iterdir()) if p.suffix.lower() in SUFFIXES)
    return ()
