"""`janus4o eval geneval|dpg|imgedit`: official rules over stored evidence.

Scoring runs no network: what a benchmark's networks said is read from a file. `eval geneval --images`
can run the detector and the classifier that write such a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import console, making
from janus4o.errors import DataError, UsageError
from janus4o.evaluate.dpg.mode import Mode
from janus4o.evaluate.imgedit.mode import Mode as ReplyMode

if TYPE_CHECKING:
    from janus4o.evaluate.evidence import Problem
    from janus4o.evaluate.geneval.networks import ColourClassifier, Detector
    from janus4o.evaluate.paired import Scores
    from janus4o.evaluate.score_file import Score

SHOWN_PROBLEMS = 20
"""Problems shown one by one; a score file lists all of them."""

ScoreFile = Annotated[
    Path | None,
    typer.Option("--score", help="Where to write the score file; default beside --out."),
]
Against = Annotated[
    Path | None,
    typer.Option(help="The same file of another system: test the difference, prompt by prompt."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the score file.")]


def geneval(
    detections: Annotated[
        Path | None,
        typer.Option(help="Stored detections and colours, one picture a line: judge them."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="A results file: print the official summary.")
    ] = None,
    crops: Annotated[
        Path | None, typer.Option(help="Pictures, masks and boxes: cut what the classifier sees.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="A folder in GenEval's layout: say what is in it, or look at it."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Verdicts (a file), or crops (a folder).")
    ] = None,
    score: ScoreFile = None,
    official: Annotated[
        Path | None, typer.Option(help="With --detections: also write an official results file.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="The official prompt file, to list what is missing.")
    ] = None,
    detector: Annotated[str, typer.Option(help="What found the boxes.")] = "",
    classifier: Annotated[str, typer.Option(help="What named the colours.")] = "",
    mask2former: Annotated[
        str, typer.Option(help="With --images: Mask2Former weights, a folder or hub id.")
    ] = "",
    grounding_dino: Annotated[
        str, typer.Option(help="The same: Grounding DINO weights, in Mask2Former's place.")
    ] = "",
    owlv2: Annotated[str, typer.Option(help="The same: OWLv2 weights.")] = "",
    clip: Annotated[str, typer.Option(help="With --images: CLIP weights, the same.")] = "",
    sketch: Annotated[
        bool, typer.Option("--sketch", help="With --images: the offline world's exact detector.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda …")] = "auto",
    make: making.MakeOption = None,
    model: making.ModelOption = None,
    server: making.ServerOption = None,
    n: making.CountOption = 4,
    seed: making.SeedOption = 42,
    guidance: making.GuidanceOption = None,
    ledger: making.LedgerOption = None,
    against: Against = None,
    as_json: AsJson = False,
) -> None:
    """Apply GenEval's rules to stored detections, or sum up a results file.

    The networks whose answers are needed are an instance detector with COCO's classes (officially
    Mask2Former swin-s) and a colour classifier (officially CLIP ViT-L/14). They are run with
    --images, one of --mask2former, --grounding-dino and --owlv2, and --clip only (or --sketch), and
    write the --out that --detections reads.
    """
    chosen = {"detections": detections, "results": results, "crops": crops, "images": images}
    _exactly_one({**chosen, "make": make})
    if make is not None:
        how = {"n": n, "seed": seed, "guidance": guidance}
        _fill_geneval(make, prompts, (model, server), how, ledger)
    elif detections is not None:
        _judge_detections(
            detections, (out, score), official, prompts, (detector, classifier), against, as_json
        )
    elif results is not None:
        _sum_up_results(results, score or out, against, as_json)
    elif crops is not None:
        _write_crops(crops, out)
    elif images is not None and (mask2former or grounding_dino or owlv2 or clip or sketch):
        named = {"mask2former": mask2former, "grounding-dino": grounding_dino, "owlv2": owlv2}
        _run_networks(images, prompts, out, named, clip, sketch, device)
    elif images is not None:
        _look_at_folder(images, prompts)


def dpg(
    questions: Annotated[
        Path | None, typer.Option(help="The benchmark's csv; with --answers or --images.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="Stored answers: {file: [per tile {question: answer}]}.")
    ] = None,
    cases: Annotated[Path | None, typer.Option(help="Small runs, one a line: score each.")] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of grids or pictures: say what is in it, or --ask about it."),
    ] = None,
    mode: Annotated[
        Mode,
        typer.Option(help="Aggregation: the published code, without its first bug, or mended."),
    ] = Mode.OFFICIAL,
    pic_num: Annotated[
        int | None, typer.Option(help="Tiles that count, 1-4; default all that have answers.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Scores of every picture or case; with --ask, answers."),
    ] = None,
    score: ScoreFile = None,
    vqa: Annotated[str, typer.Option(help="What answered the questions.")] = "",
    ask: making.AskOption = None,
    resolution: Annotated[
        int | None, typer.Option(help="With --ask: side of a grid's tile; default half its width.")
    ] = None,
    make: making.MakeOption = None,
    prompts: Annotated[
        Path | None, typer.Option(help="With --make: the benchmark's folder of prompts.")
    ] = None,
    model: making.ModelOption = None,
    server: making.ServerOption = None,
    n: making.CountOption = 4,
    seed: making.SeedOption = 42,
    guidance: making.GuidanceOption = None,
    grids: Annotated[
        Path | None, typer.Option(help="With --make: also write the official 2×2 grids here.")
    ] = None,
    ledger: making.LedgerOption = None,
    against: Against = None,
    as_json: AsJson = False,
) -> None:
    """Score DPG-Bench from answers to its questions: stored ones, or a vision model's.

    The network whose answers are needed: one that answers questions about pictures (officially
    mPLUG of modelscope). --images and --ask put the pictures before any model that speaks OpenAI's
    format and keep its answers in --out. The csv is the benchmark's own file.
    """
    _exactly_one({"answers": answers, "cases": cases, "images": images, "make": make})
    if make is not None:
        how = {"n": n, "seed": seed, "guidance": guidance}
        _fill_dpg(make, prompts, (model, server), how, grids, ledger)
        return
    if cases is not None:
        _score_dpg_cases(cases, mode, out)
        return
    if questions is None:
        raise UsageError("--answers and --images need the csv", "add --questions dpg_bench.csv")
    if answers is not None:
        _score_answers(questions, answers, mode, pic_num, (out, score), vqa, against, as_json)
    elif images is not None and ask is not None:
        tiles = 4 if pic_num is None else pic_num
        stored = _ask_about_tiles(questions, images, ask, (tiles, resolution), out, ledger)
        place = _beside(score, stored)
        _score_answers(questions, stored, mode, tiles, (None, place), vqa, against, as_json)
    elif images is not None:
        _look_at_pictures(questions, images, mode)


def imgedit(
    replies: Annotated[
        Path | None, typer.Option(help="Stored replies, {id, edit_type, reply} a line.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="A result.json, {key: reply}; with --types.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of edited pictures: say what is in it, or --ask about it."),
    ] = None,
    types: Annotated[
        Path | None, typer.Option(help="basic_edit.json, or {key: edit type}.")
    ] = None,
    mode: Annotated[
        ReplyMode, typer.Option(help="The published parser, or one that reads with care.")
    ] = ReplyMode.STRICT,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Scores of every edit; with --ask, the replies."),
    ] = None,
    score: ScoreFile = None,
    judge: Annotated[str, typer.Option(help="What model judged, as its server named it.")] = "",
    ask: making.AskOption = None,
    sources: Annotated[
        Path | None, typer.Option(help="With --ask or --make: the suite's source pictures.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="With --ask: the suite's prompts.json for the judge.")
    ] = None,
    make: making.MakeOption = None,
    model: making.ModelOption = None,
    server: making.ServerOption = None,
    seed: making.SeedOption = 42,
    guidance: making.GuidanceOption = None,
    semantic_weight: making.GuidanceOption = None,
    ledger: making.LedgerOption = None,
    against: Against = None,
    as_json: AsJson = False,
) -> None:
    """Score ImgEdit-Bench's Basic suite from a judge's replies: stored ones, or asked for here.

    The network whose replies are needed: a language model that sees pictures (officially GPT-4o).
    --images and --ask put the edits before any model that speaks OpenAI's format and keep its
    replies in --out. Prompts and pictures of the suite are the benchmark's own.
    """
    _exactly_one({"replies": replies, "results": results, "images": images, "make": make})
    if replies is None and types is None:
        raise UsageError("the edits are needed", "add --types basic_edit.json")
    if make is not None and types is not None:
        how = {"seed": seed, "guidance": guidance, "semantic_weight": semantic_weight}
        _fill_imgedit(make, types, sources, (model, server), how, ledger)
    elif images is not None and types is not None and ask is not None:
        stored = _ask_about_edits(types, images, (sources, prompts), ask, out, ledger)
        place = _beside(score, stored)
        _score_replies((stored, None, types), mode, (None, place), judge, against, as_json)
    elif images is not None and types is not None:
        _look_at_edits(images, types)
    else:
        source = (replies, results, types)
        _score_replies(source, mode, (out, score), judge, against, as_json)


def _fill_geneval(
    folder: Path,
    prompts: Path | None,
    who: tuple[str | None, Path | None],
    how: dict[str, Any],
    ledger: Path | None,
) -> None:
    from janus4o.evaluate.geneval.prompts import prompt_set_hash, read_prompts
    from janus4o.evaluate.making import geneval_pictures

    if prompts is None:
        raise UsageError("--make needs the prompt file", "add --prompts evaluation_metadata.jsonl")
    asked, problems = read_prompts(prompts)
    wanted = geneval_pictures(asked, folder, how["n"], how["seed"])
    how = {**how, "prompt_set": prompt_set_hash(asked)}
    making.fill(wanted, folder, who, how, ledger, problems)


def _fill_dpg(
    folder: Path,
    prompts: Path | None,
    who: tuple[str | None, Path | None],
    how: dict[str, Any],
    grids: Path | None,
    ledger: Path | None,
) -> None:
    from janus4o.evaluate.evidence import hash_set
    from janus4o.evaluate.making import dpg_pictures, read_dpg_prompts, write_grids

    if prompts is None:
        raise UsageError("--make needs the prompts", "add --prompts dpg_bench/prompts")
    asked = read_dpg_prompts(prompts)
    how = {**how, "prompt_set": hash_set(repr(pair) for pair in asked.items())}
    making.fill(dpg_pictures(asked, folder, how["n"], how["seed"]), folder, who, how, ledger)
    if grids is not None:
        report(write_grids(folder, asked, how["n"], grids))


def _fill_imgedit(
    folder: Path,
    types: Path,
    sources: Path | None,
    who: tuple[str | None, Path | None],
    how: dict[str, Any],
    ledger: Path | None,
) -> None:
    from janus4o.evaluate.imgedit.edits import edits_hash, read_edits
    from janus4o.evaluate.making import imgedit_pictures

    if sources is None:
        raise UsageError("--make needs the source pictures", "add --sources DIR")
    edits, problems = read_edits(types)
    wanted, lacking = imgedit_pictures(edits, sources, folder, how["seed"])
    how = {**how, "prompt_set": edits_hash(edits.values())}
    making.fill(wanted, folder, who, how, ledger, [*problems, *lacking])


def _judge_detections(
    detections: Path,
    places: tuple[Path | None, Path | None],
    official: Path | None,
    prompts: Path | None,
    networks: tuple[str, str],
    against: Path | None,
    as_json: bool,
) -> None:
    from janus4o.evaluate.evidence import write_lines, write_new
    from janus4o.evaluate.geneval.scoring import judge_file, score_detections
    from janus4o.evaluate.geneval.summary import by_prompt

    out, score = places
    scored, problems = judge_file(detections)
    if out is not None:
        write_lines(out, (one.to_json() for one in scored))
    if official is not None:
        write_new(official, "".join(one.official() + "\n" for one in scored).encode())
    if not scored:
        report(problems)
    result = score_detections(detections, scored, problems, prompts, *networks)
    if against is not None:
        here, there = (
            by_prompt([one.result for one in judged]) for judged in (scored, judge_file(against)[0])
        )
        result = _compare(result, here, there, against)
    _finish(result, _beside(score, out), as_json, _geneval_rows(result))


def _sum_up_results(results: Path, score: Path | None, against: Path | None, as_json: bool) -> None:
    from janus4o.evaluate.geneval.scoring import score_results
    from janus4o.evaluate.geneval.summary import by_prompt, official_text, read_results

    found, problems = read_results(results)
    if not found:
        report(problems)
    text = official_text(found)
    result = score_results(results, found, problems)
    if against is not None:
        there = by_prompt(read_results(against)[0])
        result = _compare(result, by_prompt(found), there, against)
    report(result.problems)
    if score is not None:
        result.write(score)
    if as_json:
        console.json(result.to_json())
    else:
        console.say(text.rstrip("\n"))
        _say_difference(result)
        console.note(result.caveat)


def _write_crops(crops: Path, out: Path | None) -> None:
    from janus4o.evaluate.geneval.crops import write_crops

    if out is None:
        raise UsageError("--crops needs a folder to write to", "add --out DIR")
    made, problems = write_crops(crops, out)
    report(problems)
    console.say(f"{len(made)} crops in {out}")


def _look_at_folder(images: Path, prompts: Path | None) -> None:
    from janus4o.evaluate.geneval.prompts import prompt_set_hash, read_folder, read_prompts

    known, problems = read_prompts(prompts) if prompts is not None else (None, [])
    samples, found = read_folder(images, known)
    report([*problems, *found])
    metadata = [sample.metadata for sample in samples]
    console.say(f"{len(samples)} pictures of {len({one.text for one in metadata})} prompts")
    console.say(f"prompt set {prompt_set_hash(metadata)}")


def _run_networks(
    images: Path,
    prompts: Path | None,
    out: Path | None,
    named: dict[str, str],
    clip: str,
    sketch: bool,
    device: str,
) -> None:
    chosen = [(kind, where) for kind, where in named.items() if where]
    if out is None or (len(chosen), bool(clip)) != ((0, False) if sketch else (1, True)):
        raise UsageError(
            "one detector, --clip and --out are needed together, or --sketch and --out",
            f"detectors are {', '.join(f'--{kind}' for kind in named)}",
        )
    from janus4o.evaluate.geneval.collecting import collect
    from janus4o.evaluate.geneval.prompts import read_folder, read_prompts
    from janus4o.evaluate.score_file import write_about

    known, problems = read_prompts(prompts) if prompts is not None else (None, [])
    samples, found = read_folder(images, known)
    detector, colours = _sketch() if sketch else _networks(*chosen[0], clip, device)
    with console.progress(len(samples), "look", "pictures") as progress:
        unread = collect(samples, detector, colours, out, lambda done, total: progress.update(done))
    write_about(out, images, {"detector": detector.name, "classifier": colours.name})
    report([*problems, *found, *unread])
    console.say(f"{len(samples) - len(unread)} of {len(samples)} pictures in {out}")


def _sketch() -> tuple[Detector, ColourClassifier]:
    from janus4o.evaluate.geneval.sketch import SketchColours, SketchDetector

    return SketchDetector(), SketchColours()


def _networks(kind: str, weights: str, clip: str, device: str) -> tuple[Detector, ColourClassifier]:
    from janus4o.evaluate.geneval.clip import ClipColours
    from janus4o.model.device import pick_device

    return detector_of(kind, weights, device), ClipColours(clip, str(pick_device(device)))


def detector_of(kind: str, weights: str, device: str) -> Detector:
    """A network that finds objects: mask2former, grounding-dino or owlv2."""
    from janus4o.evaluate.geneval.mask2former import Mask2FormerDetector
    from janus4o.evaluate.geneval.open_words import GroundingDinoDetector, Owlv2Detector
    from janus4o.model.device import pick_device

    where = str(pick_device(device))
    if kind == "mask2former":
        return Mask2FormerDetector(weights, where)
    words = GroundingDinoDetector if kind == "grounding-dino" else Owlv2Detector
    return words(weights, where)


def _geneval_rows(score: Score) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [
        (tag, entry["score"], _limits(entry), entry["n"], entry["prompts"])
        for tag, entry in score.scores["tags"].items()
    ]
    overall = score.scores["overall"]
    return [*rows, ("overall", overall["score"], _limits(overall), score.n, score.prompt_set["n"])]


def _score_dpg_cases(cases: Path, mode: Mode, out: Path | None) -> None:
    from janus4o.evaluate.dpg.scoring import score_cases
    from janus4o.evaluate.evidence import write_lines

    scored, problems = score_cases(cases, mode)
    report(problems)
    if not scored:
        raise DataError(f"{str(cases)!r} holds no case", "see the problems listed")
    if out is not None:
        write_lines(out, scored)
    rows = [(c["id"], c["dpg_score"], len(c["per_image"]), len(c["failed"])) for c in scored]
    console.table((f"DPG-Bench, {mode}", "score", "scored", "failed"), rows)


def _score_answers(
    questions: Path,
    answers: Path,
    mode: Mode,
    pic_num: int | None,
    places: tuple[Path | None, Path | None],
    vqa: str,
    against: Path | None,
    as_json: bool,
) -> None:
    from janus4o.evaluate.dpg.questions import read_rows
    from janus4o.evaluate.dpg.scoring import (
        by_prompt,
        read_answers,
        score_file,
        score_run,
        tiles_in,
    )
    from janus4o.evaluate.evidence import write_object

    out, score = places
    stored = read_answers(answers)
    tiles = tiles_in(stored) if pic_num is None else pic_num
    asked = read_rows(questions)
    run = score_run(asked, list(stored), stored, tiles, mode)
    if out is not None:
        write_object(out, run.to_json())
    if run.score is None:
        report(run.problems)
    result = score_file(run, [questions, answers], vqa, tiles)
    if against is not None:
        theirs = read_answers(against)
        other = score_run(asked, list(theirs), theirs, tiles, mode)
        result = _compare(result, by_prompt(run), by_prompt(other), against, 100)
    groups = {**result.scores["l1"], "overall": {**result.scores["overall"], "n": result.n}}
    prompts = {"overall": result.scores["overall"]["prompts"]}
    rows = [
        (name, round(entry["score"], 2), _limits(entry, 2), entry["n"], prompts.get(name, ""))
        for name, entry in groups.items()
    ]
    _finish(result, _beside(score, out), as_json, rows)


def _ask_about_tiles(
    questions: Path,
    images: Path,
    ask: Path,
    tiles: tuple[int, int | None],
    out: Path | None,
    ledger: Path | None,
) -> Path:
    """Puts a folder before a vision model; returns the file of its answers."""
    from janus4o.evaluate.dpg.questions import read_questions, read_rows
    from janus4o.evaluate.dpg.tiles import find_pictures
    from janus4o.evaluate.dpg.vqa import collect_answers, count_questions
    from janus4o.evaluate.evidence import write_object
    from janus4o.evaluate.score_file import write_about

    if out is None:
        raise UsageError("--ask needs a place for the answers", "add --out answers.json")
    # Whatever mode will score them: no other asks more.
    asked = read_questions(read_rows(questions), Mode.FIXED)
    sources, problems = find_pictures(images, asked.items)
    where, wanted = ledger or _ledger_beside(out), count_questions(sources, asked, tiles[0])
    server, writer = making.hire(ask)
    with console.progress(wanted, "ask", "questions") as progress:
        found = collect_answers(
            sources, asked, tiles[0], writer, where, tiles[1], server.manner, progress.update
        )
    write_object(out, found.answers)
    write_about(out, images, making.asked_facts(server, found.models, found.spend))
    report([*problems, *found.problems])
    making.say_spend(found.spend)
    return out


def _look_at_pictures(questions: Path, images: Path, mode: Mode) -> None:
    from janus4o.evaluate.dpg.questions import read_questions, read_rows
    from janus4o.evaluate.dpg.tiles import find_pictures

    asked = read_questions(read_rows(questions), mode)
    sources, problems = find_pictures(images, asked.items)
    report([*asked.problems, *problems])
    console.say(f"pictures of {len(sources)} of {len(asked.items)} prompts")


def _score_replies(
    source: tuple[Path | None, Path | None, Path | None],
    mode: ReplyMode,
    places: tuple[Path | None, Path | None],
    judge: str,
    against: Path | None,
    as_json: bool,
) -> None:
    from janus4o.evaluate.evidence import write_lines
    from janus4o.evaluate.imgedit.edits import read_edits
    from janus4o.evaluate.imgedit.scoring import by_edit, judge_lines, judge_results, score_file

    replies, results, types = source
    out, score = places
    edits, problems = read_edits(types) if types is not None else ({}, [])
    if replies is not None:
        judged, found = judge_lines(replies, mode)
    else:
        assert results is not None
        judged, found = judge_results(results, edits, mode)
    problems += found
    if out is not None:
        write_lines(out, (one.to_json() for one in judged))
    if all(one.reading.average is None for one in judged):
        report(problems)
    evidence = [path for path in source if path is not None]
    result = score_file(judged, problems, evidence, mode, judge, list(edits.values()))
    if against is not None:
        lines = results is None
        theirs = judge_lines(against, mode) if lines else judge_results(against, edits, mode)
        result = _compare(result, by_edit(judged), by_edit(theirs[0]), against)
    table = {**result.scores["types"], **{k: result.scores[k] for k in ("macro", "micro")}}
    rows = [
        (name, entry["score"], _limits(entry, 2), entry["n"], "")
        for name, entry in table.items()
        if entry["score"] is not None
    ]
    _finish(result, _beside(score, out), as_json, rows)


def _ask_about_edits(
    types: Path,
    images: Path,
    suite: tuple[Path | None, Path | None],
    ask: Path,
    out: Path | None,
    ledger: Path | None,
) -> Path:
    """Puts a folder of edits before a judge; returns the file of its replies."""
    from janus4o.evaluate.evidence import write_lines
    from janus4o.evaluate.imgedit.edits import find_pictures, read_edits
    from janus4o.evaluate.imgedit.judging import collect_replies, read_judge_prompts
    from janus4o.evaluate.score_file import write_about

    sources, prompts = suite
    if out is None or sources is None or prompts is None:
        raise UsageError("--ask needs --sources, --prompts and --out", "add what is missing")
    edits, problems = read_edits(types)
    pictures, others = find_pictures(images, edits)
    texts = read_judge_prompts(prompts)
    server, judge = making.hire(ask)
    with console.progress(len(pictures), "judge", "edits") as progress:
        found = collect_replies(
            edits, pictures, sources, texts, judge, ledger or _ledger_beside(out),
            server.manner, progress.update,
        )  # fmt: skip
    write_lines(out, found.lines)
    models = ", ".join(sorted({line["judge"] for line in found.lines if "judge" in line}))
    write_about(out, images, making.asked_facts(server, models, found.spend))
    report([*problems, *(one for one in others if not one.unscored)])
    making.say_spend(found.spend)
    return out


def _ledger_beside(out: Path) -> Path:
    """answers.json → answers.asked/"""
    return out.with_name(f"{out.stem}.asked")


def _look_at_edits(images: Path, types: Path) -> None:
    from janus4o.evaluate.imgedit.edits import find_pictures, read_edits

    edits, problems = read_edits(types)
    found, others = find_pictures(images, edits)
    report([*problems, *others])
    console.say(f"{len(found)} of {len(edits)} edited pictures")


def _compare(score: Score, here: Scores, there: Scores, other: Path, scale: float = 1) -> Score:
    from janus4o.evaluate.paired import difference, with_difference

    return with_difference(score, difference(here, there), other, scale)


def _say_difference(score: Score) -> None:
    found = score.against
    if found is not None:
        console.note(
            f"against {found['file']}: {found['difference']:+.3f} "
            f"({found['low']:+.3f} to {found['high']:+.3f}), p = {found['p_value']:.4f}, "
            f"{found['prompts']} prompts"
        )


def _finish(
    score: Score, path: Path | None, as_json: bool, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Lists what went wrong, writes the score file, prints the table or the file."""
    from janus4o.evaluate.score_file import with_about

    score = with_about(score)
    report(score.problems)
    if path is not None:
        score.write(path)
    if as_json:
        console.json(score.to_json())
        return
    mark = "" if score.comparable else "not comparable"
    marked = [(*row, mark) for row in rows]
    console.table((score.benchmark, "score", "95 %", "n", "prompts", ""), marked)
    _say_difference(score)
    if score.caveat:
        console.note(score.caveat)


def report(problems: Sequence[Problem]) -> None:
    """Lists what went wrong, the first of it."""
    for problem in problems[:SHOWN_PROBLEMS]:
        console.warn(str(problem))
    if len(problems) > SHOWN_PROBLEMS:
        rest = len(problems) - SHOWN_PROBLEMS
        console.warn(f"and {rest} more; the score file lists all {len(problems)}")


def _beside(score: Path | None, out: Path | None) -> Path | None:
    """verdicts.jsonl → verdicts.score.json"""
    if score is not None or out is None:
        return score
    return out.with_name(f"{out.stem}.score.json")


def _limits(entry: dict[str, Any], digits: int = 3) -> str:
    return f"{entry['low']:.{digits}f}–{entry['high']:.{digits}f}"


def _exactly_one(chosen: dict[str, Path | None]) -> None:
    given = [f"--{name}" for name, value in chosen.items() if value is not None]
    if len(given) != 1:
        names = ", ".join(f"--{name}" for name in chosen)
        raise UsageError(
            f"{' and '.join(given) or 'nothing'} given, exactly one of {names} expected",
            "see --help",
        )
