"""What is counted is counted whole: curves to their end, long lists of bars summed up."""

from __future__ import annotations

from janus4o.asked import MOST_BARS, figures
from janus4o.records import Provenance, Row


def row(number: int, categories: int) -> Row:
    things = [{"category": f"thing {number} {k}", "count": 1} for k in range(categories)]
    made = Provenance(
        id=str(number), pipeline="prompt_first", task="many_objects",
        attributes={"objects": things}, write_prompt="", writer="w", painter="p", seed=0, checks={},
    )  # fmt: skip
    return Row(
        input_prompt="a prompt",
        output_image="a.png",
        output_image_resolution=(1, 1),
        provenance=made,
    )


def test_the_curve_goes_as_far_as_anything_came_or_was_to_be_expected() -> None:
    rows = [row(number, number + 1) for number in range(20)]
    law = {str(k): 0.05 for k in range(1, 23)} | {str(k): 1e-9 for k in range(23, 101)}
    found = figures(rows, {"categories": law})
    assert found.categories is not None
    assert [value.label for value in found.categories.values] == [str(k) for k in range(1, 23)]
    assert [value.count for value in found.categories.values] == [1] * 20 + [0] * 2
    (bars,) = (one for one in found.dimensions if one.title == "Category")
    assert len(bars.values) == MOST_BARS
    assert sum(value.count for value in bars.values) == 210


def test_tasks_are_a_figure_of_their_own() -> None:
    rows = [row(0, 1), row(1, 2)]
    found = figures(rows, {"kind": {"many_objects": 0.5, "colors": 0.5}})
    assert [one.title for one in found.tasks] == ["Kind of prompt"]
    assert "Kind of prompt" not in {one.title for one in found.dimensions}
