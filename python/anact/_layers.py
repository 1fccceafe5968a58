"""Which layers of a model a probe measures."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from torch import nn

from anact._selection import Selection, Selector, activation_name, matches, selectors


def layer_choice(
    model: nn.Module, include: Selection | None, exclude: Selection | None
) -> Callable[[str, str], bool] | None:
    """Whether a layer is meant, by its row's name and its activation; None for all.

    Raises:
        ValueError: if a glob or a class matches no module.
        TypeError: for a selector of another type.
    """
    chosen, left_out = selectors(include), selectors(exclude)
    if chosen is None and not left_out:
        return None
    modules: dict[str, nn.Module] = {}
    paths: dict[nn.Module, tuple[str, ...]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        modules[path] = module
        paths[module] = (*paths.get(module, ()), path)
    # Functions of the user's are called here, where an error of theirs is heard.
    included = [(s, _matched(modules, paths, s, "include")) for s in chosen or ()]
    excluded = [(s, _matched(modules, paths, s, "exclude")) for s in left_out or ()]

    def means(selector: Selector, found: set[str], name: str, activation: str) -> bool:
        if isinstance(selector, str):
            wanted = activation_name(selector)
            if wanted is not None:
                return wanted in (activation, activation.split("(")[0])
            # An activation that a forward calls can have a name of its own.
            return name in found or fnmatchcase(name, selector)
        return (name if name in modules else "") in found

    def choose(name: str, activation: str) -> bool:
        return (
            chosen is None or any(means(*s, name, activation) for s in included)
        ) and not any(means(*s, name, activation) for s in excluded)

    return choose


def _matched(
    modules: dict[str, nn.Module],
    paths: dict[nn.Module, tuple[str, ...]],
    selector: Selector,
    argument: str,
) -> set[str]:
    """The paths of the modules that a selector means."""
    found = {
        path
        for path, module in modules.items()
        if matches(paths[module], "", module, selector, argument)
    }
    # Activations are known when they run, and "fc/relu" is a function's name.
    runs = isinstance(selector, str) and (
        activation_name(selector) is not None or "/" in selector
    )
    if not found and not runs and isinstance(selector, (str, type)):
        shown = selector if isinstance(selector, str) else selector.__qualname__
        there = ", ".join(repr(path) for path in modules if path)
        raise ValueError(
            f"{argument} {shown!r} matches no module; there are {there or 'none'}"
        )
    return found
