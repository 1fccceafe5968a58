"""Statistics of ANActs from data, without training."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from anact._plain import is_anact, plain_of
from anact.modules import ANAct

# More batches than count as the first ones of a training.
_PAST_START = 1 << 20


def calibrate(
    model: nn.Module, batches: Iterable[Any], num_batches: int | None = None
) -> nn.Module:
    """Sets the statistics of a model's ANActs to the mean of those of some batches.

    The model runs once on each batch, without gradients and in evaluation, as its dropout
    and BatchNorm should be; only the ANActs measure. The k-th call of an ANAct counts with
    weight 1/k, so that all calls weigh the same, whatever its momentum, and it normalizes
    with the mean so far: what comes after it sees the map that it will have. With a single
    batch that is exact; with more, what the first few batches see of earlier layers is
    still moving.

    Statistics from before are replaced. ANActs with ``statistics="fixed"`` stay as they
    are, unless their ``init_batch`` is set, and so does an ANAct that no batch reaches;
    frozen ones are calibrated too, since :func:`anact.freeze` is about training.
    Weights, α, all other buffers, the mode of every module and the random state are what
    they were, and so are the statistics if something raises.

    Args:
        model: a model that contains ANActs.
        batches: inputs: each a tensor, the model's one argument; a tuple of its arguments;
            or a dict of them by name. Of a loader with labels, ``(x for x, _ in loader)``.
        num_batches: how many are taken at most; all by default.

    Returns:
        The model.

    Raises:
        ValueError: if there is no ANAct to calibrate, no batch, or `num_batches` is not
            positive.
        TypeError: for a list, which loaders make of inputs and labels alike.

    >>> from anact import NSiLU
    >>> net = nn.Sequential(nn.Linear(8, 8), NSiLU(), nn.Linear(8, 8), NSiLU())
    >>> net = calibrate(net, [torch.randn(64, 8) for _ in range(3)])
    >>> [int(net[i].num_batches_tracked) for i in (1, 3)]
    [3, 3]
    """
    acts = [
        module
        for module in model.modules()
        if is_anact(module)
        and (module.options.statistics != "fixed" or module.options.init_batch)
    ]
    if not acts:
        raise ValueError("the model has no ANAct to calibrate")
    measure(model, acts, batches, num_batches)
    return model


def measure(
    model: nn.Module,
    acts: list[ANAct],
    batches: Iterable[Any],
    num_batches: int | None = None,
    *,
    as_plain: bool = False,
) -> None:
    """Sets the statistics of some ANActs as :func:`calibrate` does.

    Args:
        model, batches, num_batches: as there.
        acts: ANActs of the model.
        as_plain: whether each of them is the plain activation meanwhile.
    """
    if num_batches is not None and num_batches < 1:
        raise ValueError(f"num_batches must be positive, not {num_batches}")
    with ExitStack() as stack:
        stack.enter_context(_kept(model, acts))
        for act in acts:
            stack.enter_context(_measuring(act, as_plain))
        count = 0
        for batch in itertools.islice(batches, num_batches):
            _run(model, batch)
            count += 1
        if count == 0:
            raise ValueError("there is no batch to calibrate with")


def _run(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        model(**batch)
    elif isinstance(batch, tuple):
        model(*batch)
    elif isinstance(batch, list):
        raise TypeError(
            "a batch is a tensor, a tuple of arguments or a dict of them, not a list; "
            "of a loader with labels pass (x for x, _ in loader)"
        )
    else:
        model(batch)


@contextmanager
def _kept(model: nn.Module, acts: list[ANAct]) -> Iterator[None]:
    """Evaluation without gradients, after which all but the statistics is as before."""
    of_acts = {id(b) for act in acts for b in act.buffers()}
    before = {id(b): (b, b.detach().clone()) for b in model.buffers()}
    modes = [(module, module.training) for module in model.modules()]
    devices = (
        list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    )
    kept = [pair for key, pair in before.items() if key not in of_acts]
    with torch.random.fork_rng(devices):
        try:
            model.eval()
            with torch.no_grad():
                yield
        except BaseException:
            kept = list(before.values())
            raise
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for buffer, value in kept:
                    buffer.copy_(value)


@contextmanager
def _measuring(act: ANAct, as_plain: bool) -> Iterator[None]:
    options, learnt, frozen = act.options, act.alpha.requires_grad, act._frozen
    calls = ahead = 0

    def begin(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal calls, ahead
        if calls == 0:
            act.reset_running_stats()
        calls += 1
        act.training = True
        # Batches with statistics that are not finite have no part in the mean.
        earlier = int(act.num_batches_tracked)
        weight = 1 / (1 + earlier)
        # Of the first few, training would take one unlike the others for a new beginning.
        ahead = _PAST_START if earlier else 0
        act.num_batches_tracked += ahead
        act.options = dataclasses.replace(
            options, statistics="running", init_batch=False, gate=None, momentum=weight
        )

    def end(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        act.training = False
        act.num_batches_tracked -= ahead
        return plain(inputs[0]) if as_plain else output

    plain: Callable[[Tensor], Tensor] = plain_of(act)
    handles = [
        act.register_forward_pre_hook(begin),
        act.register_forward_hook(end),
    ]
    act._frozen = False
    act.alpha.requires_grad_(True)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        act._frozen = frozen
        act.options = options
        act.alpha.requires_grad_(learnt)
