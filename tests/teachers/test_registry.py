"""The price list: complete entries, honest ends, names found as servers say them."""

from __future__ import annotations

import datetime

import pytest

from janus4o.teachers import registry


def test_every_model_says_where_its_facts_stand_and_when_they_were_read() -> None:
    for name, model in registry.models().items():
        assert model.source, name
        assert model.read <= datetime.date(2100, 1, 1)
        if model.price is not None and model.asks == "images":
            assert model.picture, f"{name}: no price of a picture, so no call can be reserved"
            assert set(model.picture) <= set(model.quality), name
        if model.shutdown is not None:
            assert model.instead in registry.models(), f"{name}: named instead: {model.instead!r}"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt-image-2", "gpt-image-2"),
        ("gpt-image-2-2026-04-21", "gpt-image-2"),
        ("openai/gpt-image-2", "gpt-image-2"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("gpt-image-2-turbo", None),
        ("gpt-image", None),
        ("", None),
    ],
)
def test_names_are_found_as_servers_say_them(name: str, found: str | None) -> None:
    assert registry.find(name) is (registry.models()[found] if found else None)


def test_an_end_is_told_before_and_after_it_and_not_long_before() -> None:
    end = datetime.date(2026, 12, 1)
    day = datetime.timedelta(days=1)
    assert "in 8 days; named instead: gemini-3.8-flash" in registry.warnings(
        "gemini-2.5-pro", end - 8 * day
    )
    assert "was switched off on 2026-12-01" in registry.warnings("gemini-2.5-pro", end)
    assert registry.warnings("gemini-2.5-pro", end - 61 * day) == ""
    assert registry.warnings("gpt-image-2", end) == ""
    assert registry.warnings("never-heard-of", end) == ""


@pytest.mark.parametrize(
    ("model", "size", "says"),
    [
        ("gpt-image-2", (1024, 1024), ""),
        ("gpt-image-2", (3840, 2160), ""),
        ("gpt-image-2", (2160, 3840), ""),
        ("gpt-image-2", (1000, 1024), "multiples of 16"),
        ("gpt-image-2", (4096, 1024), "3 times"),
        ("gpt-image-2", (4000, 2000), "3840×2160"),
        ("gpt-image-2", (2400, 2400), "3840×2160"),
        ("gpt-image-1-mini", (1536, 1024), ""),
        ("gpt-image-1-mini", (512, 512), "1024×1024"),
    ],
)
def test_sizes_are_refused_before_anything_is_asked(
    model: str, size: tuple[int, int], says: str
) -> None:
    refused = registry.models()[model].sizes.refuses(size)
    assert (says in refused) if says else refused == ""
