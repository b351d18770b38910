"""Which edit has been made, from what came before and after it."""

from __future__ import annotations

from collections.abc import Iterator

from janus4o.errors import PromptError
from janus4o.sketch import edit
from janus4o.sketch.edit import Operation, Reference, apply
from janus4o.sketch.scene import Item, Scene


def operation_between(before: Scene, after: Scene) -> Operation | None:
    """The one operation that makes `after` of `before`; None where nothing changed, or more than one does."""
    if before == after:
        return None
    for operation in _candidates(before, after):
        try:
            if apply(operation, before) == after:
                return operation
        except PromptError:
            continue
    return None


def _candidates(before: Scene, after: Scene) -> Iterator[Operation]:
    yield edit.SetBackground(after.background)
    yield edit.Light(after.lighting)
    yield edit.SetStyle(after.style)
    gone = [item for item in before.items if item not in after.items]
    come = [item for item in after.items if item not in before.items]
    match gone, come:
        case [], [new]:
            yield edit.Add(new.shape, new.colour, new.slot)
        case [old], []:
            yield edit.Remove(_name(old))
        case [old], [new]:
            yield edit.Recolour(_name(old), new.colour)
            yield edit.Move(_name(old), new.slot)
            yield edit.Replace(_name(old), new.shape, new.colour)
        case [first, second], [_, _]:
            yield edit.Swap(_name(first), _name(second))


def _name(item: Item) -> Reference:
    return Reference(item.shape, item.colour, item.slot)
