"""What stood where an ANAct was put, kept with the ANAct."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from torch import nn

from anact._plain import plain_of
from anact.modules import ANAct


class _Original:
    """A module or function, and the activation that it was taken for.

    A module within another would be one of its children, with a place in ``state_dict``;
    in here it is not.
    """

    def __init__(self, held: object, activation: str) -> None:
        self.held = held
        self.activation = activation

    def __deepcopy__(self, memo: dict[int, Any]) -> _Original:
        return _Original(copy.deepcopy(self.held, memo), self.activation)

    def __reduce__(self) -> tuple[type, tuple[object, str]]:
        try:
            pickle.dumps(self.held)
        except (pickle.PicklingError, AttributeError, TypeError, RuntimeError):
            # The ANAct can be pickled all the same.
            return _Original, (None, self.activation)
        return _Original, (self.held, self.activation)


def keep_original(act: ANAct, held: object, activation: str) -> None:
    """Keeps with an ANAct what it stands for, in copies and pickles too."""
    vars(act)["_original"] = _Original(held, activation)


def original_of(act: ANAct) -> object:
    """What the ANAct was put for; the activation of torch.nn where that is not known.

    It is not known of an ANAct that was none before, of one whose activation was changed
    since, and of one unpickled whose original could not be pickled.
    """
    original = vars(act).get("_original")
    if (
        isinstance(original, _Original)
        and original.held is not None
        and original.activation == act.options.activation
    ):
        held = original.held
    else:
        held = plain_of(act)
    return held.train(act.training) if isinstance(held, nn.Module) else held
