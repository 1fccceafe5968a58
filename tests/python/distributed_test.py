"""Data-parallel and sharded training, on CPU with gloo.

A model in one process, trained without any of it, says what the results must be.
"""

import os
import time

# A graph of an earlier definition of the operators must not come back from the disk.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from oracle import STATISTICS, OracleANAct, assert_same_statistics
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint as recompute

from anact import ANAct

torch.set_num_threads(1)

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="no gloo"
)

STEPS = 5


def start(folder, rank=0, size=1):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size
    )


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    start(tmp_path)
    yield
    dist.destroy_process_group()


@pytest.fixture
def mesh(alone):
    return init_device_mesh("cpu", (1,))


def make_model(seed=0, **options):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(9, 17),
        ANAct("silu", **options),
        nn.Linear(17, 13),
        ANAct("gelu", gate=(0.02, 50.0), **options),
        nn.Linear(13, 3),
    )


def draw(step, rank=0):
    """Of another distribution for each rank."""
    generator = torch.Generator().manual_seed(100 * rank + step)
    return torch.randn(8, 9, generator=generator) * (1 + rank) + 0.3 * rank


def loss_of(model, x):
    return nn.functional.cross_entropy(model(x), (x[:, 0] > 0.1).long())


def make_optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train(model, optimizer=None, steps=range(STEPS), rank=0, clip=False):
    optimizer = optimizer or make_optimizer(model)
    losses = []
    for step in steps:
        optimizer.zero_grad()
        loss = loss_of(model, draw(step, rank))
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
        losses.append(loss.item())
    return losses


def whole(value):
    return value.full_tensor() if isinstance(value, DTensor) else value


def state_of(model):
    """Parameters and all buffers, those that are not saved too."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {
        name.removeprefix("module."): whole(value.detach()).clone()
        for name, value in named
    }


def assert_same_state(got, want, tolerance=0.0):
    assert got.keys() == want.keys()
    for name in want:
        torch.testing.assert_close(
            got[name],
            want[name],
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def normalized(model):
    return [module for module in model.modules() if isinstance(module, ANAct)]


# ---- DistributedDataParallel


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"static_graph": True},
        {"gradient_as_bucket_view": True},
        {"find_unused_parameters": True},
        {"forward_sync_buffers": False},
    ],
    ids=lambda options: "".join(options) or "default",
)
def test_data_parallel(alone, options):
    model, reference = make_model(), make_model()
    wrapped = DistributedDataParallel(model, **options)
    assert train(wrapped) == train(reference)
    assert_same_state(state_of(wrapped), state_of(reference))
    assert all(act.num_batches_tracked == STEPS for act in normalized(model))


def test_data_parallel_without_synchronization(alone):
    """Gradients gathered over several batches: statistics are taken of each."""
    model, reference = make_model(), make_model()
    wrapped = DistributedDataParallel(model)
    optimizer, expected = make_optimizer(model), make_optimizer(reference)
    with wrapped.no_sync():
        for step in range(3):
            loss_of(wrapped, draw(step)).backward()
    loss_of(wrapped, draw(3)).backward()
    optimizer.step()
    for step in range(4):
        loss_of(reference, draw(step)).backward()
    expected.step()
    assert_same_state(state_of(wrapped), state_of(reference))


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_data_parallel_with_activation_checkpointing(alone, use_reentrant):
    class Recomputed(nn.Sequential):
        def forward(self, x):
            return recompute(super().forward, x, use_reentrant=use_reentrant)

    model, reference = make_model(), make_model()
    model = nn.Sequential(model[0], Recomputed(*model[1:4]), model[4])
    assert train(DistributedDataParallel(model, static_graph=True)) == train(reference)
    got, want = state_of(model), state_of(reference)
    assert all(map(torch.equal, got.values(), want.values())) and len(got) == len(want)


def test_data_parallel_of_a_fixed_alpha(alone):
    """A parameter without a gradient is none to wait for."""
    model, reference = make_model(learnable=False), make_model(learnable=False)
    assert train(DistributedDataParallel(model)) == train(reference)
    assert_same_state(state_of(model), state_of(reference))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_data_parallel(alone, backend):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, reference = make_model(), make_model()
    compiled = torch.compile(DistributedDataParallel(model), backend=backend)
    losses = torch.tensor(train(compiled))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(
        losses, torch.tensor(train(reference)), rtol=1e-5, atol=1e-5
    )
    assert_same_state(state_of(model), state_of(reference), 1e-5)


# ---- FSDP2


def shard(model, mesh, **options):
    """A group for each layer, as usual, and the root."""
    for layer in model:
        fully_shard(layer, mesh=mesh, **options)
    return fully_shard(model, mesh=mesh, **options)


@pytest.mark.parametrize("reshard", [True, False])
def test_sharded(mesh, reshard):
    model, reference = make_model(), make_model()
    shard(model, mesh, reshard_after_forward=reshard)
    assert all(isinstance(act.alpha, DTensor) for act in normalized(model))
    assert train(model) == train(reference)
    assert_same_state(state_of(model), state_of(reference))
    x = draw(9)
    assert torch.equal(model.eval()(x), reference.eval()(x))


def test_sharded_as_one_group(mesh):
    model, reference = make_model(), make_model()
    fully_shard(model, mesh=mesh)
    assert train(model, clip=True) == train(reference, clip=True)
    assert_same_state(state_of(model), state_of(reference))


def test_sharded_in_mixed_precision(mesh):
    """Parameters and activations in bfloat16, statistics in single precision."""
    inputs = {0: [], 1: []}
    model = make_model()
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
    shard(model, mesh, mp_policy=policy)
    for index, act in enumerate(normalized(model)):
        act.register_forward_hook(
            lambda act, given, output, index=index: inputs[index].append(given[0])
        )
    losses = train(model)
    torch.testing.assert_close(
        torch.tensor(losses), torch.tensor(train(make_model())), rtol=0.02, atol=0.02
    )
    for index, act in enumerate(normalized(model)):
        assert {x.dtype for x in inputs[index]} == {torch.bfloat16}
        assert all(getattr(act, name).dtype == torch.float32 for name in STATISTICS)
        assert whole(act.alpha).dtype == torch.float32
        oracle = OracleANAct(act.options.activation, gate=act.options.gate)
        for x in inputs[index]:
            oracle(x.detach())
        assert_same_statistics(act, oracle, 1e-6)


@pytest.mark.filterwarnings("ignore:DTensor random operators may not")
def test_made_on_the_meta_device(mesh):
    """As large models are made: sharded first, then given storage and values."""
    with torch.device("meta"):
        model = make_model()
    shard(model, mesh)
    model.to_empty(device="cpu")
    for tensor in [*model.parameters(), *model.buffers()]:
        (tensor.to_local() if isinstance(tensor, DTensor) else tensor).data.fill_(77)
    torch.manual_seed(0)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert_same_state(state_of(model), state_of(make_model()))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable")
def test_state_of_a_sharded_model(mesh, tmp_path):
    model, resumed, reference = make_model(), make_model(1), make_model()
    shard(model, mesh)
    shard(resumed, mesh)
    optimizer, other = make_optimizer(model), make_optimizer(resumed)
    train(model, optimizer)
    state = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer)))
    checkpoint.save(state, checkpoint_id=tmp_path / "checkpoint", no_dist=True)

    loaded = dict(zip(("model", "optimizer"), get_state_dict(resumed, other)))
    checkpoint.load(loaded, checkpoint_id=tmp_path / "checkpoint", no_dist=True)
    set_state_dict(
        resumed,
        other,
        model_state_dict=loaded["model"],
        optim_state_dict=loaded["optimizer"],
    )
    assert_same_state(state_of(resumed), state_of(model))
    expected = train(reference, steps=range(2 * STEPS))
    assert train(resumed, other, range(STEPS, 2 * STEPS)) == expected[STEPS:]
    assert_same_state(state_of(resumed), state_of(reference))


def test_a_full_state_loads_without_shards(mesh):
    model, plain = make_model(), make_model(1)
    shard(model, mesh)
    train(model)
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    assert {name.rsplit(".", 1)[-1] for name in state} >= {"alpha", *STATISTICS}
    plain.load_state_dict(state)
    assert_same_state(state_of(plain), state_of(model))


# ---- Two processes


def in_two(tmp_path, work, *args):
    """What work(rank, *args) returned in each of two processes."""
    processes = mp.start_processes(
        run_rank, (work, tmp_path, args), nprocs=2, join=False, start_method="spawn"
    )
    try:
        deadline = time.monotonic() + 120
        while not processes.join(timeout=1):
            assert time.monotonic() < deadline
    finally:
        for process in processes.processes:
            process.kill()
    return [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]


def run_rank(rank, work, folder, args):
    torch.set_num_threads(1)
    start(folder, rank, 2)
    torch.save(work(rank, *args), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def train_data_parallel(rank, broadcast):
    model = make_model(seed=rank)
    wrapped = DistributedDataParallel(model, forward_sync_buffers=broadcast)
    losses = train(wrapped, rank=rank)
    return losses, state_of(model)


def train_two_by_hand(broadcast):
    """What the ranks do, in turn."""
    models = [make_model(), make_model()]
    optimizers = [make_optimizer(model) for model in models]
    losses = [[], []]
    for step in range(STEPS):
        if broadcast:
            for mine, theirs in zip(models[1].buffers(), models[0].buffers()):
                mine.copy_(theirs)
        for rank, model in enumerate(models):
            model.zero_grad()
            loss = loss_of(model, draw(step, rank))
            loss.backward()
            losses[rank].append(loss.item())
        for first, second in zip(models[0].parameters(), models[1].parameters()):
            mean = (first.grad + second.grad) / 2
            first.grad.copy_(mean)
            second.grad.copy_(mean)
        for optimizer in optimizers:
            optimizer.step()
    return [(losses[rank], state_of(models[rank])) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("broadcast", [True, False])
def test_statistics_of_two_ranks(tmp_path, broadcast):
    """Each rank measures its own batches; a forward pass starts from those of rank 0.

    Without the broadcast each rank normalizes by its own statistics throughout.
    """
    got = in_two(tmp_path, train_data_parallel, broadcast)
    want = train_two_by_hand(broadcast)
    for (losses, state), (expected, reference) in zip(got, want):
        torch.testing.assert_close(
            torch.tensor(losses), torch.tensor(expected), rtol=1e-5, atol=1e-5
        )
        assert_same_state(state, reference, 1e-5)
    (_, first), (_, second) = got
    for name in first:
        if name.rsplit(".", 1)[-1] in STATISTICS:
            assert not torch.allclose(first[name], second[name], rtol=0.01), name
        else:
            assert torch.equal(first[name], second[name]), name


def train_sharded(rank):
    model = make_model()
    shard(model, init_device_mesh("cpu", (2,)))
    # One number on two ranks: the second has none of it.
    assert all(a.alpha.to_local().numel() == 1 - rank for a in normalized(model))
    losses = train(model, rank=rank)
    return losses, state_of(model)


@pytest.mark.slow
def test_shards_on_two_ranks(tmp_path):
    got = in_two(tmp_path, train_sharded)
    want = train_two_by_hand(broadcast=False)
    for (losses, state), (expected, reference) in zip(got, want):
        torch.testing.assert_close(
            torch.tensor(losses), torch.tensor(expected), rtol=1e-5, atol=1e-5
        )
        assert_same_state(state, reference, 1e-5)
