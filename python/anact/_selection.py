"""Which of a model's activations are meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import nn

from anact import _C
from anact._places import Place

Selector: TypeAlias = str | type[nn.Module] | Callable[[str, nn.Module], bool]
Selection: TypeAlias = Selector | Iterable[Selector]


@dataclass(frozen=True)
class Candidate:
    """A place that holds an activation."""

    place: Place
    activation: str
    # What selectors see: a function is seen as the module of torch.nn that does the same.
    module: nn.Module


def selectors(selection: Selection | None) -> list[Selector] | None:
    """The selectors of an argument that takes one or several."""
    if selection is None:
        return None
    if isinstance(selection, str) or callable(selection):
        return [selection]
    return list(selection)


def select(
    candidates: list[Candidate],
    include: list[Selector] | None,
    exclude: list[Selector] | None,
) -> list[Candidate]:
    """The candidates that `include` selects, or all without one, less those of `exclude`.

    Raises:
        ValueError: if a glob, class or name matches nothing.
        TypeError: for a selector of another type.
    """
    included = (
        candidates if include is None else matching(candidates, include, "include")
    )
    left = {id(c) for c in included}
    left -= {id(c) for c in matching(candidates, exclude or [], "exclude")}
    return [c for c in candidates if id(c) in left]


def names_identity(selectors: list[Selector] | None) -> bool:
    """Whether a selector asks for the identity by its class or name."""
    return any(
        activation_name(s) == "identity"
        or (isinstance(s, type) and issubclass(s, nn.Identity))
        for s in selectors or []
    )


def is_named(candidate: Candidate, selectors: list[Selector] | None) -> bool:
    """Whether a selector asks for just this activation, and not for whatever there is.

    That is by its name, its class, or a path whose last part is written out.
    """
    return any(
        _matches(candidate, s, "include")
        for s in selectors or []
        if (isinstance(s, type) and s is not nn.Module)
        or (isinstance(s, str) and not set("*?[") & set(s.rpartition(".")[2]))
        or activation_name(s) is not None
    )


def activation_name(selector: Selector) -> str | None:
    """The activation that a selector names, as the catalogue writes it."""
    if not isinstance(selector, str):
        return None
    try:
        return _C.canonical(selector)
    except ValueError:
        return None


def matching(
    candidates: list[Candidate], selectors: list[Selector], argument: str
) -> list[Candidate]:
    """The candidates that selectors match; each of those must match some."""
    matched = []
    for selector in selectors:
        hits = [c for c in candidates if _matches(c, selector, argument)]
        if not hits and (isinstance(selector, (str, type))):
            shown = selector if isinstance(selector, str) else selector.__qualname__
            there = ", ".join(f"{c.place.path!r} ({c.activation})" for c in candidates)
            raise ValueError(
                f"{argument} {shown!r} matches no activation; "
                + (f"there are {there}" if there else "the model has none")
            )
        matched += hits
    return matched


def _matches(candidate: Candidate, selector: Selector, argument: str) -> bool:
    return matches(
        candidate.place.paths,
        candidate.activation,
        candidate.module,
        selector,
        argument,
    )


def matches(
    paths: tuple[str, ...],
    activation: str,
    module: nn.Module,
    selector: Selector,
    argument: str,
) -> bool:
    """Whether a selector means what stands at these paths; the activation may be empty.

    Raises:
        TypeError: for a selector of another type.
    """
    if isinstance(selector, str):
        name = activation_name(selector)
        if name is not None:
            return name in (activation, activation.split("(")[0])
        return any(fnmatchcase(path, selector) for path in paths)
    if isinstance(selector, type):
        return isinstance(module, selector)
    if callable(selector) and not isinstance(selector, nn.Module):
        return any(selector(path, module) for path in paths)
    raise TypeError(
        f"{argument} takes globs, classes, names and callables, not {selector!r}"
    )
