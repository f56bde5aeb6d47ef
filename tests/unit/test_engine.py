"""The training engine: what models share changes memory and speed, and not one bit of a result."""

import logging
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from density_samples import ARCHITECTURES, SMALL, jobs, patch, same_bits, sample

from viamachinae.density import Engine, Job, Preprocessor, Sample, engine
from viamachinae.density.adam import Adam
from viamachinae.density.families import family_of
from viamachinae.density.schedule import Schedule
from viamachinae.density.train import Stack
from viamachinae.errors import ConfigError, DataError, TaskError

SETTINGS = SMALL.model_copy(
    update={
        "name": "mixture",
        "blocks": 2,
        "hidden": 13,
        "learning_rate": 0.03,
        "gradient_clip": 0.5,
        "max_epochs": 6,
        "rounds": 12,
        "patience": 1,
    }
)
SIZES = (1200, 400, 900, 420, 700, 1200, 500, 450)

architectures = pytest.mark.parametrize("name", ARCHITECTURES)


def all_same(first, second):
    return all(same_bits(a, b) for a, b in zip(first, second, strict=True))


def rows_taken(density, size):
    """The rows that a training on ``size`` stars took, by its held-out curve, and the most it could."""
    schedule = Schedule.of(size, density.settings)
    taken = min(schedule.steps, len(density.held_out) * schedule.round)
    return taken * schedule.batch, schedule.presentations


def in_chunks(chosen, size, settings=SETTINGS):
    """Densities trained ``size`` at a time."""
    parts = (Engine().fit(patch(), chosen[i : i + size], settings) for i in range(0, len(chosen), size))
    return list(chain.from_iterable(parts))


@pytest.fixture
def stacks(monkeypatch):
    """The numbers of models of all stacks that are made."""
    made = []

    class Spy(Stack):
        def __init__(self, family, table, members, settings):
            made.append(len(members))
            super().__init__(family, table, members, settings)

    monkeypatch.setattr(engine, "Stack", Spy)
    return made


@architectures
@pytest.mark.parametrize("batch_size", [256, 333, 37])
def test_the_models_beside_a_model_change_not_one_bit_of_it(name, batch_size, stacks):
    """They stop at different times, some of them early, so that the stack shrinks."""
    settings = SETTINGS.model_copy(update=ARCHITECTURES[name] | {"batch_size": batch_size})
    if batch_size < 64:
        settings = settings.model_copy(update={"max_star_steps": 500, "rounds": 6})
    chosen = jobs(SIZES)
    alone = in_chunks(chosen, 1, settings)
    taken = [rows_taken(density, size) for density, size in zip(alone, SIZES, strict=True)]
    assert batch_size < 64 or any(rows < most for rows, most in taken)
    for size in (3, 8):
        assert all_same(alone, in_chunks(chosen, size, settings))
    assert max(stacks) == 8
    backward = Engine().fit(patch(), chosen[::-1], settings)
    assert all_same(alone, backward[::-1])


@pytest.mark.parametrize("size", [1050, 1110, 1150])
def test_jobs_about_the_size_of_a_mini_batch_train_beside_larger_ones(size):
    settings = SETTINGS.model_copy(update={"batch_size": 1024, "max_epochs": 2})
    chosen = jobs((2500, size, 1200, 40))
    assert all_same(in_chunks(chosen, 1, settings), in_chunks(chosen, 4, settings))


@architectures
def test_a_model_never_sees_a_star_outside_its_rows(name):
    settings = SETTINGS.model_copy(update=ARCHITECTURES[name] | {"max_epochs": 2})
    stars, (job,) = patch(), jobs([1500])
    poisoned = np.full_like(stars.table, np.nan)
    poisoned[job.rows] = stars.table[job.rows]
    clean = Engine().fit(stars, [job], settings)
    assert all_same(clean, Engine().fit(replace(stars, table=poisoned), [job], settings))
    beside = replace(job, rows=np.arange(3000))
    with pytest.raises(TaskError, match="diverged"):
        Engine().fit(replace(stars, table=poisoned), [beside], settings)


def test_stopped_models_cost_nothing(monkeypatch):
    asked = []
    family = type(family_of(2, SETTINGS))
    log_probs = family.log_probs

    def spy(self, values, x, m, *, training=False):
        asked.append(x.shape[0] * x.shape[1] * training)
        return log_probs(self, values, x, m, training=training)

    monkeypatch.setattr(family, "log_probs", spy)
    densities = Engine().fit(patch(), jobs(SIZES), SETTINGS)
    taken = [rows_taken(density, size) for density, size in zip(densities, SIZES, strict=True)]
    assert sum(asked) == sum(rows for rows, _ in taken) < sum(most for _, most in taken)


def test_the_size_of_a_group_follows_from_the_memory(stacks):
    chosen, sizes = jobs([1000] * 6), {}
    for memory in (1, 1e12):
        stacks.clear()
        sizes[memory] = (Engine(memory=memory).fit(patch(), chosen, SETTINGS), list(stacks))
    assert sizes[1][1] == [1] * 6
    assert sizes[1e12][1] == [6]
    needed = engine.model_bytes(family_of(2, SETTINGS), 1000, SETTINGS)
    stacks.clear()
    fitted = Engine(memory=2.5 * needed).fit(patch(), chosen, SETTINGS)
    assert stacks == [2, 2, 2]
    assert all_same(fitted, sizes[1][0])
    assert all_same(fitted, sizes[1e12][0])


@pytest.mark.parametrize(
    "wider", [{"hidden": 512}, {"components": 100}, {"batch_size": 2048}, {"best_epochs": 1000}]
)
def test_larger_models_and_batches_need_more_memory(wider):
    changed = SETTINGS.model_copy(update=wider)
    needed = [
        engine.model_bytes(family_of(5, settings), 10_000, settings) for settings in (SETTINGS, changed)
    ]
    assert needed[1] > 1.5 * needed[0]


def failing(monkeypatch, error, most):
    """Let stacks of more than so many models fail."""
    made = []

    class Failing(Stack):
        def __init__(self, family, table, members, settings):
            made.append(len(members))
            if len(members) > most:
                raise error
            super().__init__(family, table, members, settings)

    monkeypatch.setattr(engine, "Stack", Failing)
    return made


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    MemoryError("Unable to allocate 8 TiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_where_memory_runs_out_groups_are_halved(monkeypatch, caplog, error):
    whole = Engine().fit(patch(), jobs(SIZES), SETTINGS)
    made = failing(monkeypatch, error, most=2)
    with caplog.at_level(logging.WARNING):
        assert all_same(whole, Engine().fit(patch(), jobs(SIZES), SETTINGS))
    assert made == [8, 4, 2, 2, 2, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 8 models together: going on with 4",
        "out of memory with 4 models together: going on with 2",
    ]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_single_model_that_does_not_fit_is_an_error_that_says_what_to_do(monkeypatch, error):
    failing(monkeypatch, error, most=0)
    with pytest.raises(TaskError, match=r"does not fit into the memory of cpu .*lower density\.batch_size"):
        Engine().fit(patch(), jobs([500, 600, 700]), SETTINGS)


def test_other_errors_pass_through(monkeypatch):
    made = failing(monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), most=0)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Engine().fit(patch(), jobs([500, 600]), SETTINGS)
    assert made == [2]


@architectures
def test_a_start_gives_its_transform_and_its_numbers(name):
    settings = SETTINGS.model_copy(update=ARCHITECTURES[name] | {"max_epochs": 2})
    (first,) = Engine().fit(patch(), jobs([2000]), settings)
    gentle = settings.model_copy(update={"learning_rate": 1e-9, "max_epochs": 1, "best_epochs": 1})
    (job,) = jobs([1000], start=first)
    (cold,) = Engine().fit(patch(), [replace(job, start=None)], gentle)
    (again,) = Engine().fit(patch(), [job], gentle)
    assert again.preprocessor.state() == first.preprocessor.state()
    assert again.condition.state() == first.condition.state()
    assert cold.preprocessor.state() != first.preprocessor.state()
    trained = sum(p.numel() for p in family_of(2, settings).flow.parameters()) if "maf" in name[:3] else None
    numbers = slice(None, trained)  # running statistics of the batches move without a learning rate
    torch.testing.assert_close(again.values[0, numbers], first.values[0, numbers], atol=1e-6, rtol=0)
    assert not torch.allclose(cold.values[0], first.values[0], atol=1e-2)


def test_training_goes_on_from_its_start():
    settings = SETTINGS.model_copy(update={"max_epochs": 20, "patience": 20, "learning_rate": 4e-3})
    (first,) = Engine().fit(patch(), jobs([2500]), settings)
    short = settings.model_copy(update={"max_epochs": 1, "rounds": 1})
    warm, cold = (Engine().fit(patch(), jobs([2500], start=start), short)[0] for start in (first, None))
    assert warm.held_out.max() > cold.held_out.max() + 0.1
    assert warm.held_out.max() == pytest.approx(first.held_out.max(), abs=0.05)


@pytest.mark.parametrize("change", [{"hidden": 8}, {"name": "maf"}, {"components": 2}])
def test_start_from_another_architecture_is_refused(change, stacks):
    (first,) = Engine().fit(patch(), jobs([500]), SETTINGS)
    stacks.clear()
    ((key, value),) = change.items()
    with pytest.raises(DataError, match=f"{key} = .?{value}.* cannot start from"):
        Engine().fit(patch(), jobs([500, 600], start=first), SETTINGS.model_copy(update=change))
    assert not stacks


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_stars_are_refused_before_any_training(n, stacks):
    with pytest.raises(DataError, match=rf"{n} stars are too few to train on.*raise regions\.min_stars"):
        Engine(memory=1).fit(patch(), jobs([2000, n]), SETTINGS)
    assert not stacks


def test_stars_that_do_not_vary_are_refused():
    stars = patch()
    table = stars.table.copy()
    table[:500, 0] = 1
    with pytest.raises(DataError, match="does not vary over the 500"):
        Engine().fit(replace(stars, table=table), [Job(np.arange(500), 1)], SETTINGS)


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r'set runner\.device = "cpu" or install a CUDA build'):
        Engine("cuda")
    Engine("auto").fit(patch(500), [Job(np.arange(500), 1)], SETTINGS)


@architectures
def test_densities_at_rows_are_those_at_the_stars(name):
    settings = SETTINGS.model_copy(update=ARCHITECTURES[name])
    x, m = sample(3000)
    stars = Sample.of(x, m, Preprocessor.fit(x, ("asinh", "magnitude")))
    densities = Engine().fit(stars, jobs([2000, 1000]), settings)
    rows = [np.arange(3000)[::-7], np.array([5, 2999, 5])]
    for density, chosen, log_p in zip(
        densities, rows, Engine().log_probs(stars, densities, rows), strict=True
    ):
        assert log_p.dtype == np.float64
        np.testing.assert_allclose(log_p, density.log_prob(x[chosen], m[chosen]), atol=1e-4)
    (none,) = Engine().log_probs(stars, densities[:1], [np.arange(0)])
    assert none.shape == (0,)


def test_the_stars_evaluated_beside_a_star_change_not_one_bit():
    stars = patch(10_000)
    (density,) = Engine().fit(stars, [Job(np.arange(1000), 1)], SETTINGS)
    rows = np.random.default_rng(1).permutation(10_000)
    (together,) = Engine().log_probs(stars, [density], [rows])
    for n in (1, 63, 4097):
        (some,) = Engine().log_probs(stars, [density], [rows[:n]])
        np.testing.assert_array_equal(some, together[:n])


def test_each_model_takes_the_steps_of_torch_s_adam_on_its_own_clipped_gradient():
    generator = torch.Generator().manual_seed(1)
    start, rates = torch.randn(3, 64, generator=generator), torch.tensor([[1e-2], [3e-3], [0.1]])
    values, adam = start.clone(), Adam(start, clip=2.0)
    single = [torch.nn.Parameter(row.clone()) for row in start]
    theirs = [torch.optim.Adam([row], lr=float(rate)) for row, rate in zip(single, rates, strict=True)]
    for _ in range(20):
        gradient = torch.randn(3, 64, generator=generator) * torch.tensor([[0.01], [1.0], [100.0]])
        for row, optimiser, own in zip(single, theirs, gradient, strict=True):
            row.grad = own.clone()
            torch.nn.utils.clip_grad_norm_(row, 2.0)
            optimiser.step()
        adam.step(values, gradient, rates)
    torch.testing.assert_close(values, torch.stack([row.detach() for row in single]))
    assert not torch.allclose(values, start)


def test_a_model_whose_gradient_is_not_finite_stays_where_it_is_and_goes_on():
    values, adam = torch.zeros(2, 64), Adam(torch.zeros(2, 64), clip=5.0)
    for broken in (torch.inf, torch.nan):
        before = values.clone()
        gradient = torch.ones(2, 64)
        gradient[1, 3] = broken
        adam.step(values, gradient, torch.full((2, 1), 0.1))
        assert torch.equal(values[1], before[1])
        assert (values[0] < before[0]).all()
    adam.step(values, torch.ones(2, 64), torch.full((2, 1), 0.1))
    assert (values < 0).all()
    assert values.isfinite().all()


def test_every_round_draws_each_training_star_once_before_any_twice(monkeypatch):
    counts = np.zeros(3000, dtype=int)
    gradient = Stack._gradient

    def spy(self, models, rows):
        np.add.at(counts, rows.numpy().ravel(), 1)
        return gradient(self, models, rows)

    monkeypatch.setattr(Stack, "_gradient", spy)
    (job,) = jobs([1423])  # 1281 train: five batches and a star
    Engine().fit(
        patch(), [job], SETTINGS.model_copy(update={"max_epochs": 3, "patience": 99, "batch_size": 256})
    )
    assert counts[np.setdiff1d(np.arange(3000), job.rows)].sum() == 0
    trained = np.sort(counts[job.rows])[142:]
    assert set(trained) <= {2, 3}
    assert (np.sort(counts[job.rows])[:142] == 0).all()


# Matrix products of a GPU with TF32 inputs.


def ten_bits(values):
    """Round to the ten-bit mantissa of TF32, to nearest even."""
    bits = values.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


class Product(torch.autograd.Function):
    """A batched matrix product of rounded factors, and so its derivatives."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.factors = ten_bits(a), ten_bits(b)
        return torch.matmul(*ctx.factors)

    @staticmethod
    def backward(ctx, *gradients):
        (a, b), gradient = ctx.factors, ten_bits(gradients[0])
        return torch.matmul(gradient, b.mT), torch.matmul(a.mT, gradient)


@pytest.fixture
def tf32():
    """Round the factors of every matrix product of the families while it is entered."""

    def rounded(monkeypatch):
        monkeypatch.setattr(torch, "bmm", Product.apply)
        monkeypatch.setattr(torch, "baddbmm", lambda bias, a, b: bias + Product.apply(a, b))
        linear = lambda x, weight, bias: Product.apply(x, weight.mT) + bias  # noqa: E731
        monkeypatch.setattr(torch.nn.functional, "linear", linear)

    with pytest.MonkeyPatch.context() as monkeypatch:
        yield lambda: rounded(monkeypatch)


def test_rounding_is_that_of_tf32():
    ulp = 2.0**-10
    given = torch.tensor(
        [1.0, 1 + 0.49 * ulp, 1 + 0.5 * ulp, 1 + 0.51 * ulp, -1 - 1.5 * ulp, 2 - 0.25 * ulp, 0.0]
    )
    expected = torch.tensor([1.0, 1.0, 1.0, 1 + ulp, -1 - 2 * ulp, 2.0, 0.0])
    assert torch.equal(ten_bits(given), expected)


@architectures
def test_ten_bit_products_keep_the_likelihood_within_a_thousandth_of_a_nat(name, tf32):
    settings = SMALL.model_copy(update=ARCHITECTURES[name] | {"max_epochs": 10, "hidden": 24})
    stars, job = patch(7000), Job(np.arange(4000), 1)
    fresh = np.arange(4000, 7000)
    (exact,) = Engine().fit(stars, [job], settings)
    (likelihood,) = Engine().log_probs(stars, [exact], [fresh])
    tf32()
    (rounded,) = Engine().log_probs(stars, [exact], [fresh])
    assert not np.array_equal(rounded, likelihood)
    assert abs((rounded - likelihood).mean()) < 1e-3
    (trained,) = Engine().fit(stars, [job], settings)
    (other,) = Engine().log_probs(stars, [trained], [fresh])
    # Two trainings that differ in a bit part, though far less than those of two seeds, whose likelihoods
    # differ by 2e-3 to 4e-2 nats here; the largest difference seen is 3e-3.
    assert abs((other - likelihood).mean()) < 5e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@architectures
@pytest.mark.parametrize("mixed", [True, False])
def test_a_gpu_gives_the_likelihood_of_a_processor(name, mixed):
    settings = SMALL.model_copy(update=ARCHITECTURES[name] | {"max_epochs": 10})
    stars, chosen, fresh = (
        patch(8000),
        [Job(np.arange(5000), 1), Job(np.arange(2500), 2)],
        np.arange(5000, 8000),
    )
    gpu = Engine("cuda", mixed=mixed)
    precision = torch.get_float32_matmul_precision()
    for trained_on in (Engine(), gpu):
        densities = trained_on.fit(stars, chosen, settings)
        assert all(density.values.device.type == "cpu" for density in densities)
        pairs = (engine.log_probs(stars, densities, [fresh, fresh]) for engine in (Engine(), gpu))
        for on_cpu, on_gpu in zip(*pairs, strict=True):
            assert abs((on_gpu - on_cpu).mean()) < 1e-3
            assert on_cpu.mean() > -5
    assert torch.get_float32_matmul_precision() == precision
