"""Rules that say, pattern by pattern, which activations are converted and how."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from torch import nn

from anact._option_types import OptionArguments
from anact._options import ANActOptions
from anact._selection import Candidate, Selector, matching

Rules: TypeAlias = (
    Mapping[str | type[nn.Module], Mapping[str, Any]] | str | os.PathLike[str]
)

_OPTIONS = tuple(OptionArguments.__annotations__)


@dataclass(frozen=True)
class _Rule:
    pattern: str | type[nn.Module]
    convert: bool
    # Whether `convert` is written out.
    asks: bool
    options: OptionArguments


class RuleSet:
    """Rules of which the first that matches an activation decides.

    Args:
        rules: as :func:`anact.convert_activations` takes them; None for no rules.

    Raises:
        ValueError, TypeError: for anything that is no rule, with file, rule and what was
            expected.
        RuntimeError: for a file where Python cannot read TOML.
        OSError: for a file that cannot be read.
    """

    def __init__(self, rules: Rules | None) -> None:
        self.source = "rules"
        tables: Mapping[Any, Any]
        if isinstance(rules, (str, os.PathLike)):
            self.source = os.fspath(rules)
            tables = _read(self.source)
        elif rules is None or isinstance(rules, Mapping):
            tables = rules or {}
        else:
            raise TypeError(
                f"rules: expected a dict or the path of a TOML file, found {rules!r}"
            )
        self._rules = [self._rule(*item) for item in tables.items()]
        self._first: dict[int, _Rule] = {}

    def apply(self, candidates: list[Candidate]) -> list[Candidate]:
        """The candidates but those that a rule leaves.

        Raises:
            ValueError: for a rule whose pattern matches none of them.
        """
        for rule in self._rules:
            try:
                hits = matching(candidates, [rule.pattern], "the pattern")
            except (ValueError, TypeError) as error:
                raise ValueError(f"{self._where(rule.pattern)}: {error}") from None
            for c in hits:
                self._first.setdefault(id(c), rule)
        return [
            c
            for c in candidates
            if id(c) not in self._first or self._first[id(c)].convert
        ]

    def asked(self, include: list[Selector] | None) -> list[Selector]:
        """What is asked for: by `include`, or by a rule that says ``convert = true``."""
        asked = [rule.pattern for rule in self._rules if rule.convert and rule.asks]
        return [*(include or []), *asked]

    def options(
        self, candidate: Candidate, general: OptionArguments
    ) -> OptionArguments:
        """The options of an activation: its rule's, and else the general ones."""
        rule = self._first.get(id(candidate))
        if rule is None:
            return general
        return cast(OptionArguments, {**general, **rule.options})

    def _where(self, pattern: object) -> str:
        shown = pattern.__qualname__ if isinstance(pattern, type) else pattern
        return f"{self.source}: rule {shown!r}"

    def _rule(self, pattern: Any, table: Any) -> _Rule:
        where = self._where(pattern)
        if not isinstance(pattern, (str, type)):
            raise TypeError(
                f"{where}: expected a glob on the path, the name of an activation, or a "
                "class"
            )
        if not isinstance(table, Mapping):
            raise TypeError(f"{where}: expected a table of options, found {table!r}")
        given = dict(table)
        asks = "convert" in given
        convert = given.pop("convert", True)
        if not isinstance(convert, bool):
            raise TypeError(
                f"{where}: convert: expected true or false, found {convert!r}"
            )
        if not convert and given:
            raise ValueError(
                f"{where}: expected no options beside convert = false, found "
                f"{', '.join(map(repr, given))}"
            )
        for name, value in given.items():
            if name not in _OPTIONS:
                raise ValueError(f"{where}: {_unknown(name, value)}")
            if isinstance(value, list):
                given[name] = tuple(value)
        options = cast(OptionArguments, given)
        try:
            ANActOptions("silu", **options)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from None
        return _Rule(pattern, convert, asks, options)


def _unknown(name: str, value: object) -> str:
    if isinstance(value, Mapping):
        return (
            f"expected options, found the table {name!r}; a pattern with dots is written "
            "in quotes"
        )
    names = ("convert", *_OPTIONS)
    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]}?" if close else f"expected {', '.join(names)}"
    return f"unknown option {name!r}; {hint}"


def _read(file: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib

        try:
            return tomllib.loads(Path(file).read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{file}: no TOML: {error}") from None
    raise RuntimeError(
        f"{file}: reading TOML needs Python 3.11 or newer; pass the rules as a dict"
    )
