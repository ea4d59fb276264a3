"""How a bug is planted: the product's own source with a few words changed, put in the place of the original.

A planted bug is written as what stands in the source and what is to stand there instead, so that it reads like a diff
and cannot quietly miss its target: a function that was renamed, or words that are no longer there exactly once, are an
error.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any


class NothingToPlant(Exception):
    """What a bug is to be planted into is not there any more; the text says what was looked for, and where."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change of one function of the product.

    Attributes:
        where: `module:Class.method`, `module:function`; a property is named like a method.
        swaps: words of its source, each there exactly once (indented as in a function that stands alone), and what is
            to stand there instead.
        names: what the new words use and the module does not have.
        also: further places (`module:name`) that have imported the function under its name.
    """

    where: str
    swaps: tuple[tuple[str, str], ...]
    names: Mapping[str, object] = field(default_factory=dict)
    also: tuple[str, ...] = ()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the changed function in place of the original, for as long as this lasts.

        Raises:
            NothingToPlant: there is no such function, or it does not say that.
        """
        owner, name = _owner(self.where)
        original = inspect.getattr_static(owner, name)
        function = original.fget if isinstance(original, property) else original
        if not isinstance(function, FunctionType):
            raise NothingToPlant(f"{self.where} is no function")
        changed: Any = self._changed(function)
        if isinstance(original, property):
            changed = property(changed)
        places = [(owner, name), *(_owner(place) for place in self.also)]
        for place, known in places:
            if inspect.getattr_static(place, known) is not original:
                raise NothingToPlant(f"{place.__name__}.{known} is not {self.where}")
        try:
            for place, known in places:
                setattr(place, known, changed)
            yield
        finally:
            for place, known in places:
                setattr(place, known, original)

    def _changed(self, function: FunctionType) -> FunctionType:
        source = textwrap.dedent(inspect.getsource(function))
        for old, new in self.swaps:
            if source.count(old) != 1:
                raise NothingToPlant(f"{self.where} says {source.count(old)} times, not once:\n{old}")
            source = source.replace(old, new)
        if source.startswith("@property\n"):
            source = source.removeprefix("@property\n")
        # A function around it, so that it has the added names without their being put into the product's module.
        inner = textwrap.indent(source, "    ")
        made = f"def _make({', '.join(self.names)}):\n{inner}\n    return {function.__name__}\n"
        scope: dict[str, Any] = {}
        code = compile("from __future__ import annotations\n" + made, f"<planted in {self.where}>", "exec")
        exec(code, function.__globals__, scope)
        changed: FunctionType = scope["_make"](**self.names)
        changed.__qualname__ = function.__qualname__
        return changed


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A bug that can be put into the product and taken out again.

    Attributes:
        name: as it is asked for.
        sentence: what the broken product does, for people.
        caught_by: the invariants of which one is to notice it; a violation of another one does not count.
        seeds: within so many seeds, counted from 1, it is to be found.
        edits: the bug itself.
    """

    name: str
    sentence: str
    caught_by: frozenset[str]
    seeds: int
    edits: tuple[Edit, ...]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The product has the bug for as long as this lasts.

        Raises:
            NothingToPlant: the product is not what the bug was written for.
        """
        with ExitStack() as stack:
            for edit in self.edits:
                stack.enter_context(edit.applied())
            yield


def place_of(where: str) -> Any:
    """What stands at a place of the product now.

    Raises:
        NothingToPlant: there is no such place.
    """
    owner, name = _owner(where)
    return inspect.getattr_static(owner, name)


def _owner(where: str) -> tuple[Any, str]:
    module, _, path = where.partition(":")
    *classes, name = path.split(".")
    try:
        owner: Any = importlib.import_module(module)
        for one in classes:
            owner = getattr(owner, one)
        inspect.getattr_static(owner, name)
    except (ImportError, AttributeError) as error:
        raise NothingToPlant(f"there is no {where}: {error}") from None
    return owner, name
