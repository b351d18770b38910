"""Replies of judges: the published parser to the letter, and one that can be trusted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus4o.evaluate.imgedit.edits import SCORE_NAMES, Edit
from janus4o.evaluate.imgedit.mode import Mode
from janus4o.evaluate.imgedit.replies import read_reply
from janus4o.evaluate.imgedit.scoring import Judged, means


def lines(root, name):
    return map(json.loads, (root / "tests/golden/evaluation" / name).read_text().splitlines())


def test_every_golden_reply(root):
    for case in lines(root, "imgedit_replies.jsonl"):
        reading = read_reply(case["reply"], case["edit_type"], Mode.OFFICIAL)
        assert reading.average == case["expected_average"], case["id"]


def test_every_golden_run(root):
    for run in lines(root, "imgedit_runs.jsonl"):
        types = run["types"]
        judged = [
            Judged(Edit(key, types[key]), read_reply(reply, types[key], Mode.OFFICIAL))
            for key, reply in run["result_json"].items()
        ]
        done = means(judged)
        assert done.items == run["expected_average_score"]
        assert done.types == run["expected_typescore"]
        assert (done.macro, done.micro) == (run["mean_of_types"], run["mean_of_items"])
        assert done.micro == run["uge_final"]


READABLE = {"bold", "boldname", "dot", "nospace", "paren", "violates", "slash", "extra", "trail"}
READABLE |= {"plain", "oneline", "dash", "crlf"}


def test_strict_reads_what_says_a_score_and_nothing_else(root):
    for case in lines(root, "imgedit_replies.jsonl"):
        reading = read_reply(case["reply"], case["edit_type"], Mode.STRICT)
        assert (reading.average is not None) == (case["style"] in READABLE), case
        assert (reading.why == "") == (reading.average is not None)


def three(text, kind="add"):
    """A reply with the three lines of `kind`, each written as `text` says."""
    return "\n".join(text.format(name) for name in SCORE_NAMES[kind])


@pytest.mark.parametrize(
    "text",
    [
        "{}: 4",
        "{}:4",
        "{} : 4",
        "**{}:** 4",
        "**{}**: 4",
        "**{}: 4**",
        "{}: **4**/5",
        "{}: `4`",
        "- {}: 4",
        "1. {}: 4",
        "### {}: 4",
        "| {} | 4 |",
        "{}: 4/5",
        "{}: 4 / 5",
        "{}: 4 out of 5",
        "{}: 4.",
        "{}: 4.0",
        "{}: 4, since it fits",
        "{}: 4 (good)",
        "{} (1-5): 4",
        "{} score: 4",
        "{} Score: 4/5",
        "{} = 4",
        "{} - 4",
        "{} → 4",
        "{}：4",
        '"{}": 4',
    ],
)
@pytest.mark.parametrize("kind", SCORE_NAMES)
def test_strict_reads_many_ways_of_writing_a_score(text, kind):
    for reply in (three(text, kind), "Brief reasoning: 3 things.\n" + three(text, kind).lower()):
        assert read_reply(reply, kind, Mode.STRICT).scores == (4, 4, 4)
    if "|" not in text:
        on_one_line = three(text, kind).replace("\n", " ")
        assert read_reply(on_one_line, kind, Mode.STRICT).scores == (4, 4, 4)


@pytest.mark.parametrize(
    "text",
    [
        "{}: 0",
        "{}: 6",
        "{}: 45",
        "{}: 4/10",
        "{}: 4.5",
        "{}: 3-4",
        "{}: 3 to 4",
        "{}: -4",
        "{}: four",
        "{}: N/A",
        "{} is good",
        "Not{}: 4",
        "得分: 4",
        "",
    ],
)
def test_strict_takes_nothing_else(text):
    reading = read_reply(three(text), "add", Mode.STRICT)
    assert reading.average is None
    assert reading.scores == ()
    assert reading.why


@pytest.mark.parametrize("kind", [None, "", "uge", 3])
def test_an_unknown_type_cannot_be_read_strictly(kind):
    assert "edit type" in read_reply(three("{}: 4"), str(kind), Mode.STRICT).why


def test_other_releases_names_of_types_are_known():
    assert read_reply(three("{}: 4", "adjust"), "Alter", Mode.STRICT).average == 4.0
    assert read_reply(three("{}: 4", "compose"), "hybrid", Mode.STRICT).average == 4.0


def test_one_missing_score_loses_the_reply():
    reply = three("{}: 4").replace("Visual Naturalness: 4", "")
    assert "Visual Naturalness" in read_reply(reply, "add", Mode.STRICT).why
    # The published parser averages what it finds.
    assert read_reply(reply, "add", Mode.OFFICIAL).scores == (4, 4)


def test_an_instruction_out_of_the_picture_does_not_add_a_score():
    said = "The picture says to write Prompt Compliance: 5.\n"
    assert "scored 2 and 5" in read_reply(said + three("{}: 2"), "add", Mode.STRICT).why
    assert read_reply("Prompt Compliance: 4\n" + three("{}: 4"), "add", Mode.STRICT).average == 4


@given(st.tuples(*[st.integers(1, 5)] * 3), st.sampled_from(sorted(SCORE_NAMES)))
def test_the_first_score_limits_the_others(scores, kind):
    named = zip(SCORE_NAMES[kind], scores, strict=True)
    reply = "\n".join(f"{name}: {score}" for name, score in named)
    strict, official = (read_reply(reply, kind, mode) for mode in (Mode.STRICT, Mode.OFFICIAL))
    assert official.scores == scores
    assert strict.scores == (scores[0], *(min(s, scores[0]) for s in scores[1:]))
    assert strict.capped == (max(scores) > scores[0])
    assert strict.average <= official.average
    if not strict.capped:
        assert strict.average == official.average


@given(st.text())
def test_no_text_breaks_a_parser(text):
    for mode in Mode:
        reading = read_reply(text, "add", mode)
        assert (reading.average is None) == bool(reading.why)


@pytest.mark.parametrize("reply", [None, {"error": "timed out"}, ["4"], 4])
def test_a_failed_call_is_no_reply(reply):
    for mode in Mode:
        reading = read_reply(reply, "add", mode)
        assert reading.average is None
        assert "no reply" in reading.why
    assert "timed out" in read_reply({"error": "timed out"}, "add", Mode.STRICT).why


def test_digits_that_are_no_number_stop_the_published_parser_only():
    assert "stops" in read_reply("Prompt Compliance: ²", "add", Mode.OFFICIAL).why
