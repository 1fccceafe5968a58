"""Activation checkpointing: the second forward pass is the first one again.

The same step without checkpointing says what the gradients and statistics must be.
"""

import copy
import itertools
import os

# A graph of an earlier definition of the operators must not come back from the disk.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint import checkpoint_wrapper
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)

from anact import ANAct

torch.set_num_threads(1)

reentrant = pytest.mark.parametrize("use_reentrant", [True, False])
statistics = pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
backends = pytest.mark.parametrize("backend", ["aot_eager", "inductor"])


def make_model(**options):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(9, 17),
        ANAct("silu", **options),
        nn.Linear(17, 13),
        ANAct("gelu", **options),
        nn.Linear(13, 3),
    )


def draw(step=0):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(7, 9, generator=generator) * (1 + step)
    return x.requires_grad_()


def state_after(run, model, x):
    """Everything that one step of training produces."""
    model.zero_grad()
    run(model, x).square().sum().backward()
    state = {name: p.grad for name, p in model.named_parameters()}
    state.update((name, b.clone()) for name, b in model.named_buffers())
    return {**state, "input": x.grad}


def plainly(model, x):
    return model(x)


def assert_same_steps(run, plain=plainly, make=make_model, steps=3, exact=True):
    model = make()
    reference = copy.deepcopy(model)
    for step in range(steps):
        want = state_after(plain, reference, draw(step))
        got = state_after(run, model, draw(step))
        assert got.keys() == want.keys()
        for name in want:
            limit = 0 if exact else 1e-5 * max(1, want[name].abs().max().item())
            torch.testing.assert_close(
                got[name], want[name], rtol=0, atol=limit, msg=f"step {step}, {name}"
            )
        for name in want:
            if name.endswith("num_batches_tracked"):
                assert want[name] > step


# ---- In eager mode


@reentrant
@statistics
def test_one_region(use_reentrant, statistics):
    assert_same_steps(
        lambda model, x: checkpoint(model, x, use_reentrant=use_reentrant),
        make=lambda: make_model(statistics=statistics, gate=(0.01, 100.0)),
    )


@reentrant
def test_a_region_for_each_layer(use_reentrant):
    def run(model, x):
        for layer in model:
            x = checkpoint(layer, x, use_reentrant=use_reentrant)
        return x

    assert_same_steps(run)


@reentrant
@pytest.mark.parametrize("segments", [1, 2, 5])
def test_checkpoint_sequential(use_reentrant, segments):
    assert_same_steps(
        lambda model, x: checkpoint_sequential(
            model, segments, x, use_reentrant=use_reentrant
        )
    )


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_nested_regions(outer, inner):
    def run(model, x):
        def tail(x):
            return checkpoint(model[2:], x, use_reentrant=inner)

        return checkpoint(lambda x: tail(model[:2](x)), x, use_reentrant=outer)

    assert_same_steps(run)


@reentrant
def test_one_module_twice_in_a_region(use_reentrant):
    def twice(model, x):
        return model[4](model[3](model[2](model[1](3 * model[1](model[0](x))))))

    assert_same_steps(
        lambda model, x: checkpoint(twice, model, x, use_reentrant=use_reentrant),
        plain=twice,
    )


@reentrant
def test_many_calls_of_one_module_before_the_backward_pass(use_reentrant):
    def plain(model, x):
        scales = torch.linspace(0.5, 2, 100)
        return model(x) + sum(model[1](x * scale) for scale in scales).mean()

    def run(model, x):
        scales = torch.linspace(0.5, 2, 100)
        parts = [checkpoint(model, x, use_reentrant=use_reentrant)]
        parts += [
            checkpoint(model[1], x * scale, use_reentrant=use_reentrant)
            for scale in scales
        ]
        return parts[0] + sum(parts[1:]).mean()

    assert_same_steps(run, plain=plain)


@reentrant
def test_ten_thousand_passes_are_exact(use_reentrant):
    passes = 10_000
    batches = torch.randn(passes, 5, generator=torch.Generator().manual_seed(3))
    batches *= torch.linspace(0.5, 2, passes)[:, None]
    results = []
    for again in (False, True):
        act = ANAct("silu", momentum=0.1)
        x = batches.clone().requires_grad_()
        outputs = [
            checkpoint(act, row, use_reentrant=use_reentrant) if again else act(row)
            for row in x.unbind()
        ]
        torch.stack(outputs).square().sum().backward()
        results.append((x.grad, act.alpha.grad, *act.buffers()))
    for got, want in zip(*results):
        assert torch.equal(got, want)


@reentrant
def test_the_same_batch_several_times(use_reentrant):
    """Nothing tells these passes apart but their order."""

    def run(model, x):
        return sum(
            checkpoint(model, x, use_reentrant=use_reentrant) * weight
            for weight in (1, 10, 100)
        )

    def plain(model, x):
        return sum(model(x) * weight for weight in (1, 10, 100))

    # Of the same parts in another order.
    assert_same_steps(run, plain=plain, exact=False)


def test_a_pass_that_is_no_second_one_is_an_error():
    act = ANAct("silu")

    class Rerun(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return act(x)

        @staticmethod
        def backward(ctx, grad):
            return act(grad)

    y = Rerun.apply(torch.randn(4, requires_grad=True))
    with pytest.raises(RuntimeError, match="found no first pass with the same input"):
        y.sum().backward()
    assert act.num_batches_tracked == 1


@reentrant
def test_two_forward_passes_then_their_backward_passes(use_reentrant):
    def run(model, x):
        first, second = x, x * 2
        return torch.cat(
            [
                checkpoint(model, at, use_reentrant=use_reentrant)
                for at in (first, second)
            ]
        )

    assert_same_steps(run, plain=lambda model, x: torch.cat([model(x), model(x * 2)]))


def test_backward_twice():
    def run(model, x):
        y = checkpoint(model, x, use_reentrant=False)
        y.sum().backward(retain_graph=True)
        return y

    def plain(model, x):
        y = model(x)
        y.sum().backward(retain_graph=True)
        return y

    assert_same_steps(run, plain=plain)


@reentrant
def test_evaluation(use_reentrant):
    model = make_model()
    model(draw(1))
    model.eval()
    want = state_after(plainly, copy.deepcopy(model), draw(2))
    got = state_after(
        lambda model, x: checkpoint(model, x, use_reentrant=use_reentrant),
        model,
        draw(2),
    )
    for name in want:
        assert torch.equal(got[name], want[name]), name


@reentrant
def test_a_batch_that_is_not_finite(use_reentrant):
    model = make_model()
    x = draw().detach().fill_(float("nan")).requires_grad_()
    before = {name: b.clone() for name, b in model.named_buffers()}
    checkpoint(model, x, use_reentrant=use_reentrant).sum().backward()
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_skipped"):
            assert buffer == 1
        else:
            assert torch.equal(buffer, before[name]), name


@reentrant
def test_autocast(use_reentrant):
    def run(model, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return checkpoint(model, x, use_reentrant=use_reentrant)

    def plain(model, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    assert_same_steps(run, plain=plain)


@pytest.mark.parametrize("policy", ["save", "recompute"])
def test_selective_checkpointing(policy):
    """Whether anact::apply is among what is saved or among what runs again."""
    saved = (
        torch.ops.anact.apply.default
        if policy == "save"
        else torch.ops.aten.addmm.default
    )

    def choose(context, operator, *args, **kwargs):
        if operator is saved:
            return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE

    assert_same_steps(
        lambda model, x: checkpoint(
            model,
            x,
            use_reentrant=False,
            context_fn=lambda: create_selective_checkpoint_contexts(choose),
        )
    )


def test_wrapped_modules():
    def make():
        model = make_model()
        checkpoint_wrapper.apply_activation_checkpointing(
            model, check_fn=lambda module: isinstance(module, ANAct)
        )
        return model

    def run(model, x):
        assert isinstance(model[1], checkpoint_wrapper.CheckpointWrapper)
        return model(x)

    # A wrapper's parameters and buffers go by the names without it, in the same order.
    model, reference = make(), make_model()
    for step in range(3):
        got = state_after(run, model, draw(step))
        want = state_after(plainly, reference, draw(step))
        for ours, theirs in itertools.zip_longest(got.values(), want.values()):
            assert torch.equal(ours, theirs)


def test_saved_tensors_elsewhere():
    """Hooks on saved tensors, without a second forward pass."""

    def run(model, x):
        with torch.autograd.graph.save_on_cpu():
            return model(x)

    assert_same_steps(run)


# ---- With torch.compile


@backends
@statistics
def test_checkpoint_within_a_compiled_function(backend, statistics):
    torch._dynamo.reset()

    def run(model, x):
        return checkpoint(model, x, use_reentrant=False)

    compiled = torch.compile(run, fullgraph=True, backend=backend)
    assert_same_steps(
        compiled, make=lambda: make_model(statistics=statistics), exact=False
    )


@backends
def test_checkpoint_of_each_block_within_a_compiled_function(backend):
    torch._dynamo.reset()

    def run(model, x):
        x = checkpoint(model[:2], x, use_reentrant=False)
        x = checkpoint(model[2:4], x, use_reentrant=False)
        return model[4](x)

    assert_same_steps(torch.compile(run, fullgraph=True, backend=backend), exact=False)


@backends
@reentrant
def test_checkpoint_around_a_compiled_module(backend, use_reentrant):
    torch._dynamo.reset()
    compiled = {}

    def run(model, x):
        if model not in compiled:
            compiled[model] = torch.compile(model, fullgraph=True, backend=backend)
        return checkpoint(compiled[model], x, use_reentrant=use_reentrant)

    assert_same_steps(run, exact=False)


@backends
def test_memory_budget(backend):
    """The partitioner may choose on its own what runs again."""
    torch._dynamo.reset()
    with torch._functorch.config.patch(activation_memory_budget=0.0):
        assert_same_steps(
            torch.compile(plainly, fullgraph=True, backend=backend), exact=False
        )
