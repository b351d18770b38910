"""The questions of DPG-Bench: its csv, read the way each mode reads it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from janus4o.errors import DataError
from janus4o.evaluate.dpg.mode import Mode
from janus4o.evaluate.evidence import Problem, hash_set, read_text

VERSION = "TencentQQGYLab/ELLA@3c228f1"

NEEDED = ("item_id", "proposition_id", "dependency", "tuple", "question_natural_language")

Row = Mapping[str, str]
"""One csv row: column → cell."""

NOT_AVAILABLE = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
    | {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""Cells that pandas, which the published code reads with, takes for no value."""


@dataclass(frozen=True, slots=True)
class Question:
    """One proposition about a prompt.

    Attributes:
        parents: propositions without which this one cannot hold; the csv's 0 stands for none.
        category: "entity - whole", the published level 2.
    """

    id: int
    text: str
    parents: tuple[int, ...]
    category: str

    @property
    def group(self) -> str:
        """The published level 1: "entity"."""
        return self.category.partition("-")[0].strip()


@dataclass(frozen=True, slots=True)
class Questions:
    """All questions a run can be asked.

    Attributes:
        items: item id → proposition id → question, in the order they are walked.
        unusable: item id → why it cannot be scored.
        stopped: why the published code ends here without any score; empty where it does not.
        problems: what was odd about the csv.
    """

    items: dict[str, dict[int, Question]]
    unusable: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    problems: tuple[Problem, ...] = ()

    @property
    def hash(self) -> str:
        """Of what is asked; independent of the order of items."""
        return hash_set(
            repr((item, [(q.id, q.text, q.parents, q.category) for q in questions.values()]))
            for item, questions in self.items.items()
        )

    @property
    def count(self) -> int:
        return sum(len(questions) for questions in self.items.values())


def read_rows(path: Path) -> list[Row]:
    """Reads the benchmark's csv.

    Quotes are read as leniently as pandas reads them. A row that is cut off leaves its last cells
    empty, and is noticed by that.

    Raises:
        DataError: it has not the benchmark's columns, a row has too many cells, or a quote is never
            closed.
    """
    end = "end of the file"
    text = read_text(path) + f"\n{end}\n"
    try:
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise DataError(f"{path.name}: {error}", "copy the file again") from error
    if lines.pop() != [end]:  # swallowed by a cell that was never closed
        raise DataError(
            f"{path.name} ends inside a quoted cell", "it may be half-written; copy it again"
        )
    header = lines[0] if lines else []
    if not set(NEEDED) <= set(header):
        raise DataError(
            f"{str(path)!r} has not the columns {', '.join(NEEDED)}", "give dpg_bench.csv"
        )
    rows: list[Row] = []
    for cells in filter(None, lines[1:]):
        if len(cells) > len(header):
            raise DataError(
                f"{path.name} row {len(rows) + 2} has {len(cells)} cells, not {len(header)}",
                "check the quotes of that row",
            )
        rows.append(dict(zip(header, cells + [""] * len(header), strict=False)))
    return rows


def read_questions(rows: Sequence[Row], mode: Mode) -> Questions:
    """Groups rows into items the way `mode` does.

    The published code takes only rows that follow one another for one item, so an item that comes
    again replaces what it was; it drops the first row; it stops at a cell it cannot read. FIXED
    gathers an item's rows from everywhere and gives up only the items whose rows cannot be read.
    """
    if mode is Mode.FIXED:
        return _gather(rows)
    return _follow(rows, 0 if mode is Mode.FIRST_ROW else 1)


def _follow(rows: Sequence[Row], first: int) -> Questions:
    items: dict[str, dict[int, Question]] = {}
    problems: list[Problem] = []
    rest = rows[first:]
    if rest and all(_is_number(row["dependency"]) for row in rows):
        return Questions(
            {}, stopped="every dependency is one number, which its csv reader takes in"
        )
    previous = None
    for number, row in enumerate(rest, first + 2):
        item = row["item_id"]
        try:
            question = _question(row)
        except DataError as error:
            return Questions({}, stopped=f"csv row {number}: {error.message}")
        if item == previous:
            if question.id in items[item]:
                problems.append(_repeated(item, question, number))
            items[item][question.id] = question
        else:
            if item in items:
                what = "comes again; the rows before are lost, as in the original"
                problems.append(Problem(f"csv row {number} ({item})", what, unscored=False))
            items[item] = {question.id: question}
        previous = item
    if rest and all(_is_number(row["item_id"]) for row in rows):
        what = "all item ids are numbers, which the original never finds among file names"
        return Questions({}, problems=(*problems, Problem("csv", what)))
    if first and rows:
        what = "the first row is dropped, as in the original"
        problems.append(Problem(f"csv row 2 ({rows[0]['item_id']})", what, unscored=False))
    return Questions(items, problems=(*problems, *_out_of_order(items)))


def _gather(rows: Sequence[Row]) -> Questions:
    items: dict[str, dict[int, Question]] = {}
    unusable: dict[str, str] = {}
    problems: list[Problem] = []
    previous = None
    for number, row in enumerate(rows, 2):
        item = row["item_id"].strip()
        where = f"csv row {number} ({item})"
        if all(row[column].strip() == column for column in NEEDED):
            problems.append(Problem(where, "repeats the header", unscored=False))
            continue
        try:
            question = _question(row)
        except DataError as error:
            unusable.setdefault(item, f"csv row {number}: {error.message}")
            continue
        if item in items and item != previous:
            problems.append(Problem(where, "stands apart from its item's other rows", False))
        questions = items.setdefault(item, {})
        if question.id in questions and questions[question.id] != question:
            unusable.setdefault(item, f"csv row {number}: question {question.id} is there twice")
        questions[question.id] = question
        previous = item
    for item, questions in items.items():
        for question in questions.values():
            missing = [p for p in question.parents if p and p not in questions]
            if missing:
                unusable.setdefault(
                    item, f"question {question.id} names question {missing[0]}, which is missing"
                )
    return Questions(items, unusable, "", (*problems, *_out_of_order(items)))


def _question(row: Row) -> Question:
    number, dependency = row["proposition_id"].strip(), row["dependency"]
    if dependency.strip() in NOT_AVAILABLE:
        raise DataError("the dependency is empty", "")
    try:
        parents = tuple(int(part) for part in dependency.split(","))
        proposition = int(number) if not _is_whole_float(number) else int(float(number))
    except ValueError:
        raise DataError(
            f"proposition {number!r} with dependency {dependency!r}: numbers were expected", ""
        ) from None
    category = row["tuple"].partition("(")[0].strip()
    return Question(proposition, row["question_natural_language"], parents, category)


def _out_of_order(items: Mapping[str, Mapping[int, Question]]) -> list[Problem]:
    """Items in which a question stands before one of its parents."""
    problems = []
    for item, questions in items.items():
        seen = {0}
        for question in questions.values():
            if any(parent not in seen and parent in questions for parent in question.parents):
                what = f"question {question.id} stands before one it depends on"
                problems.append(Problem(item, what, unscored=False))
                break
            seen.add(question.id)
    return problems


def _repeated(item: str, question: Question, number: int) -> Problem:
    what = f"question {question.id} is there twice, the later counts"
    return Problem(f"csv row {number} ({item})", what, unscored=False)


def _is_number(cell: str) -> bool:
    if cell.strip() in NOT_AVAILABLE:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _is_whole_float(cell: str) -> bool:
    return cell.endswith(".0") and cell[:-2].isdecimal()
