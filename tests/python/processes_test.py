"""Modules in several processes: workers that load data, forked and spawned children."""

import copy

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.utils.data import DataLoader, Dataset

from anact import ANAct

SECONDS = 60
methods = pytest.mark.parametrize("method", ["fork", "spawn"])
# Each worker of a loader imports everything anew.
loader_methods = pytest.mark.parametrize(
    "method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)]
)

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork\\(\\):DeprecationWarning")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


def make_model(**options):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(9, 17),
        ANAct("silu", **options),
        nn.Linear(17, 13),
        ANAct("softplus", **options),
        nn.Linear(13, 3),
    )


def draw(step=0):
    return torch.randn(11, 9, generator=torch.Generator().manual_seed(step))


def train(model, batches):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for x in batches:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def state_of(model):
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: value.detach().clone() for name, value in named}


# The library behind nn.Linear rounds otherwise with another number of threads.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def assert_same_state(got, want):
    assert got.keys() == want.keys()
    torch.testing.assert_close(got, want, **CLOSE)


def assert_same_numbers(got, want):
    """Of lists of numbers, or of lists."""
    if isinstance(want, list):
        assert len(got) == len(want)
        for mine, other in zip(got, want, strict=True):
            assert_same_numbers(mine, other)
    else:
        assert got == pytest.approx(want, rel=CLOSE["rtol"], abs=CLOSE["atol"])


def step_of(model, x):
    """Everything that a step of training gives, as plain numbers."""
    y = model(x)
    y.square().sum().backward()
    named = {name: p.grad for name, p in model.named_parameters()}
    named.update(model.named_buffers())
    return [y.tolist(), *(value.tolist() for value in named.values())]


def run_child(queue, work, threads, *args):
    # PyTorch's own operators too wait for ever if a forked child has more than one.
    torch.set_num_threads(threads)
    queue.put(work(*args))


def in_child(method, work, *args, threads=1):
    """What work(*args) returns in another process, which must end in time."""
    context = mp.get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=run_child, args=(queue, work, threads, *args))
    child.start()
    try:
        assert queue._reader.poll(SECONDS), f"no result after {SECONDS} seconds"
        result = queue.get()
        child.join(SECONDS)
        assert child.exitcode == 0
        return result
    finally:
        child.kill()
        child.join()


def use_threads():
    """Forward and backward passes of this process that are large enough for two threads."""
    torch.set_num_threads(2)
    model = nn.Sequential(ANAct("silu"), ANAct("relu"))
    x = torch.randn(1 << 20, requires_grad=True)
    model(x).sum().backward()


# ---- Children


@methods
@pytest.mark.parametrize("statistics", ["previous", "running", "batch"])
def test_a_child_computes_what_the_parent_does(method, statistics):
    model = make_model(statistics=statistics)
    train(model, map(draw, range(3)))
    model.zero_grad()
    reference = copy.deepcopy(model)
    got = in_child(method, step_of, model, draw(7))
    assert_same_numbers(got, step_of(reference, draw(7)))


def evaluate(model, x):
    return model.eval()(x).tolist()


@methods
def test_evaluation_in_a_child(method):
    model = make_model()
    train(model, map(draw, range(3)))
    expected = copy.deepcopy(model).eval()(draw(7)).tolist()
    assert_same_numbers(in_child(method, evaluate, model, draw(7)), expected)


def step_of_large_tensors():
    torch.manual_seed(0)
    x = torch.randn(1 << 19)
    return step_of(nn.Sequential(ANAct("silu"), ANAct("tanh")), x)[1:]


@methods
def test_after_the_parent_used_threads(method):
    """A forked child has none of its parent's threads, and must not wait for them."""
    use_threads()
    got = in_child(method, step_of_large_tensors)
    assert got == step_of_large_tensors()


def test_threads_in_a_child():
    use_threads()
    got = in_child("spawn", step_of_large_tensors, threads=2)
    assert got == step_of_large_tensors()


@methods
def test_several_children_at_once(method):
    model = make_model().share_memory().eval()
    expected = model(draw()).tolist()
    context = mp.get_context(method)
    with context.Pool(2) as pool:
        waiting = [pool.apply_async(evaluate, (model, draw())) for _ in range(4)]
        for result in waiting:
            assert_same_numbers(result.get(SECONDS), expected)
        pool.close()
        pool.join()


# ---- Shared memory


def train_in_place(model, steps):
    train(model, map(draw, range(steps)))
    return [act.num_batches_skipped.item() for act in (model[1], model[3])]


@methods
def test_a_child_trains_the_parents_module(method):
    """Parameters and statistics are in the same memory."""
    model, reference = make_model(), make_model()
    assert model.share_memory() is model
    assert all(t.is_shared() for t in [*model.parameters(), *model.buffers()])
    in_child(method, train_in_place, model, 4)
    train(reference, map(draw, range(4)))
    assert_same_state(state_of(model), state_of(reference))
    # And goes on from there.
    train(model, [draw(5)])
    train(reference, [draw(5)])
    assert_same_state(state_of(model), state_of(reference))
    assert model[1].num_batches_tracked == 5


def test_a_forked_child_has_a_copy():
    model = make_model()
    before = state_of(model)
    in_child("fork", train_in_place, model, 4)
    assert_same_state(state_of(model), before)


def test_two_children_train_at_once():
    """Without locks: every batch is seen, and what they leave is of use."""
    model = make_model().share_memory()
    context = mp.get_context("fork")
    children = [
        context.Process(target=train_in_place, args=(model, 5)) for _ in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(SECONDS)
    finished = [child.exitcode for child in children]
    for child in children:
        child.kill()
    assert finished == [0, 0]
    for act in (model[1], model[3]):
        assert 5 <= act.num_batches_tracked <= 10
    assert torch.isfinite(torch.cat([p.flatten() for p in model.parameters()])).all()
    assert torch.isfinite(model.eval()(draw())).all()


# ---- Workers that load data


class Batches(Dataset):
    """Batches that a network of ANActs, frozen or measuring, has gone over."""

    def __init__(self, network=None):
        self.network = network

    def __len__(self):
        return 6

    def __getitem__(self, index):
        x = draw(index)
        if self.network is not None:
            with torch.no_grad():
                x = self.network(x)
        return x


@loader_methods
def test_training_from_workers(method):
    use_threads()
    model, reference = make_model(), make_model()
    loader = DataLoader(
        Batches(),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=method,
        persistent_workers=True,
        timeout=SECONDS,
    )
    for _ in range(2):
        train(model, loader)
        train(reference, DataLoader(Batches(), batch_size=None))
    assert_same_state(state_of(model), state_of(reference))
    assert model[1].num_batches_tracked == 12


@loader_methods
def test_a_network_in_the_workers(method):
    use_threads()
    network = nn.Sequential(nn.Linear(9, 5), ANAct("mish"))
    train(network, map(draw, range(3)))
    network.eval()
    loader = DataLoader(
        Batches(network),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=method,
        timeout=SECONDS,
    )
    with torch.no_grad():
        for index, x in enumerate(loader):
            assert torch.equal(x, network(draw(index)))
    assert index == 5
    assert network[1].num_batches_tracked == 3
