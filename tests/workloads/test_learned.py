"""Demands learnt from finished jobs: that they are learnt, from nothing else, and what is said before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workloads import JobTable, WorkloadError
from workloads.estimates import Estimator, make_estimator
from workloads.job_features import JobFeatures
from workloads.learned import Learned, predict_demand
from workloads.regression import METHODS, fit

SIZES = np.array([1e7, 1e8, 3e8, 1e9, 7e9])


def jobs_of(num: int, noise: float = 0.1, seed: int = 0) -> JobTable:
    """Jobs that take as long as their parameters, samples and GPUs say, give or take."""
    rng = np.random.default_rng(seed)
    model, tenant, num_gpus = rng.integers(0, 5, num), rng.integers(0, 3, num), rng.choice([1, 2, 4, 8], num)
    num_parameters, num_samples = SIZES[model] * rng.uniform(0.7, 1.4, num), 10 ** rng.uniform(5, 7, num)
    columns: dict[str, Any] = {
        "submit_s": np.arange(num) * 60.0,
        "num_gpus": num_gpus,
        "duration_s": num_parameters * num_samples / num_gpus / 1e11 * np.exp(rng.normal(0.0, noise, num)),
        "model": [f"m{k}" for k in model],
        "tenant": [f"t{k}" for k in tenant],
        "batch_size": 32.0 * num_gpus,
        "num_parameters": num_parameters,
        "num_samples": num_samples,
        "memory_gib_per_gpu": num_parameters * 16 / 2**30 * np.exp(rng.normal(0.0, noise, num)),
    }
    return JobTable.from_columns(columns)


def learned(**options: Any) -> Estimator:
    return make_estimator("learned", np.random.default_rng(0), **options)


def taught(jobs: JobTable, rows: range, **options: Any) -> Estimator:
    estimator = learned(**options)
    for row in rows:
        estimator.observe(jobs, row, float(jobs.duration_s[row]))
    return estimator


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    if request.param == "svr":
        pytest.importorskip("sklearn", reason="method=svr needs scikit-learn: the extra forecast")
    return str(request.param)


# ---- the estimator
def test_it_says_a_default_until_enough_have_finished() -> None:
    jobs = jobs_of(30)
    estimator = learned(default_s=77.0, min_jobs=20)
    for row in range(20):
        assert estimator.estimate_s(jobs, 25) == 77.0
        estimator.observe(jobs, row, float(jobs.duration_s[row]))
    assert estimator.estimate_s(jobs, 25) != 77.0
    assert estimator.estimate_all(jobs) is None


def test_it_learns_what_decides(method: str) -> None:
    """Of jobs it has not seen: much better than the mean or median of like jobs, which know no parameters."""
    jobs = jobs_of(700)
    ours, history = taught(jobs, range(500), method=method), make_estimator("history", np.random.default_rng(0))
    for row in range(500):
        history.observe(jobs, row, float(jobs.duration_s[row]))
    errors = [
        [abs(np.log(each.estimate_s(jobs, row) / jobs.duration_s[row])) for each in (ours, history)]
        for row in range(500, 700)
    ]
    mine, theirs = np.median(errors, axis=0)
    assert mine < 0.25
    assert mine < 0.3 * theirs


def test_nothing_leaks_from_jobs_that_have_not_finished(method: str) -> None:
    """Whatever the jobs that still run or wait will turn out to be, what is said is the same."""
    jobs = jobs_of(150)
    others = jobs.with_columns(
        duration_s=np.where(np.arange(150) % 2, 1e6, jobs.duration_s),
        num_gpus=np.where(np.arange(150) > 120, 1, jobs.num_gpus),
        min_gpus=np.ones(150),
        max_gpus=jobs.num_gpus,
        elasticity=np.full(150, 2),
    )
    even = range(0, 120, 2)  # these finish
    said, again = (
        [taught(table, even, method=method).estimate_s(table, row) for row in (101, 119)] for table in (jobs, others)
    )
    assert said == again
    assert said[0] != said[1]  # no default


def test_its_own_answer_is_not_among_what_it_learns_from() -> None:
    """A finished job's features are those from before it finished: another answer changes none of them."""
    jobs = jobs_of(3)
    one, two = JobFeatures("duration_s"), JobFeatures("duration_s")
    for features, answer in ((one, 1.0), (two, 9.0)):
        before = features.of(jobs, 0)
        features.tell(jobs, 1, answer)
        assert not np.array_equal(features.of(jobs, 1), before)
    estimators = [learned(min_jobs=3) for _ in range(2)]
    for estimator, answers in zip(estimators, ((10.0, 20.0, 30.0), (10.0, 20.0, 9e9)), strict=True):
        for row, answer in enumerate(answers):
            estimator.observe(jobs, row, answer)
    first, second = ([row for row, _ in estimator._model._told] for estimator in estimators)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(first, second)


def test_means_of_like_jobs_are_drawn_to_coarser_ones() -> None:
    rows = JobTable.from_columns(
        {
            "submit_s": [0.0] * 4,
            "num_gpus": [1, 1, 1, 2],
            "duration_s": [1.0] * 4,
            "model": ["a", "a", "b", "a"],
            "tenant": ["t", "u", "v", "t"],
        }
    )
    features = JobFeatures("duration_s")
    assert features.of(rows, 0)[-4:].tolist() == [0.0] * 4  # nobody has finished
    features.tell(rows, 0, 6.0)  # all: 6 / (1 + 2) = 2, and from there (6 + 2 * 2) / 3, …
    every = 2.0
    model = tenant = (6.0 + 2 * every) / 3
    both = (6.0 + 2 * model) / 3
    assert features.of(rows, 0)[-4:] == pytest.approx([model, tenant, both, (6.0 + 2 * both) / 3])
    assert features.of(rows, 1)[-4:] == pytest.approx([model, every, model, model])  # the same model only
    assert features.of(rows, 2)[-4:] == pytest.approx([every] * 4)  # a stranger
    assert features.of(rows, 3)[-4:] == pytest.approx([model, tenant, both, both])  # another size


def test_it_is_fitted_on_a_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []

    def counted(*args: Any) -> Any:
        fits.append(len(args[1]))
        return fit(*args)

    monkeypatch.setattr("workloads.learned.fit", counted)
    jobs = jobs_of(100)
    estimator = learned(min_jobs=10, refit_every=20, last=60)
    for row in range(90):
        estimator.observe(jobs, row, float(jobs.duration_s[row]))
        estimator.estimate_s(jobs, 95)
    assert fits == [10, 30, 50, 60, 60]  # after 10, 30, 50, 70 and 90; of the last 60 at most


def test_it_says_nothing_beyond_what_it_has_seen(method: str) -> None:
    jobs = jobs_of(100)
    estimator = taught(jobs, range(80), method=method)
    giant = jobs.with_columns(num_samples=np.full(100, 1e15))
    seen_s = jobs.duration_s[:80]
    assert all(seen_s.min() * 0.999 <= estimator.estimate_s(giant, row) <= seen_s.max() * 1.001 for row in range(100))


def test_the_same_jobs_give_the_same_estimates(method: str) -> None:
    jobs = jobs_of(100)
    first, second = (taught(jobs, range(80), method=method).estimate_s(jobs, 90) for _ in range(2))
    assert first == second


def test_jobs_of_which_nothing_is_known() -> None:
    plain = JobTable.from_columns({"submit_s": np.zeros(60), "num_gpus": np.ones(60), "duration_s": np.full(60, 5.0)})
    assert taught(plain, range(55)).estimate_s(plain, 59) == pytest.approx(5.0)


# ---- regressions
def test_linear_is_ridge() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(5.0, [1.0, 10.0, 0.0], (200, 3))  # the last one never varies
    values = 3.0 + features @ [2.0, -0.5, 7.0] + rng.normal(0, 0.1, 200)
    table = (features[:, :2] - features[:, :2].mean(axis=0)) / features[:, :2].std(axis=0)
    weights = np.linalg.solve(table.T @ table + 0.001 * 200 * np.eye(2), table.T @ (values - values.mean()))
    said = fit("linear", features, values)(features[:5])
    np.testing.assert_allclose(said, values.mean() + table[:5] @ weights, rtol=1e-9)


@pytest.mark.parametrize("name", ["svr", "neural"])
def test_others_learn_what_is_not_linear(name: str) -> None:
    if name == "svr":
        pytest.importorskip("sklearn")
    rng = np.random.default_rng(2)
    features = rng.normal(0.0, 1.0, (500, 2))
    values = features[:, 0] * features[:, 1]
    fresh = rng.normal(0.0, 0.7, (200, 2))
    errors = {each: np.abs(fit(each, features, values)(fresh) - fresh.prod(axis=1)).mean() for each in (name, "linear")}
    assert errors[name] < 0.4 * errors["linear"]


# ---- other demands
def test_gpus_and_memory_of_new_jobs(method: str) -> None:
    finished, new = jobs_of(400), jobs_of(100, seed=1)
    gpus = predict_demand("num_gpus", finished, new, method)
    assert (gpus == new.num_gpus).mean() > 0.8  # the batch gives it away
    memory_gib = predict_demand("memory_gib_per_gpu", finished, new, method)
    assert np.median(np.abs(np.log(memory_gib / new.memory_gib_per_gpu))) < 0.25
    duration_s = predict_demand("duration_s", finished, new, method)
    assert np.median(np.abs(np.log(duration_s / new.duration_s))) < 0.25


@pytest.mark.parametrize(
    ("target", "hidden"),
    [
        ("num_gpus", ("num_gpus", "min_gpus", "max_gpus", "memory_gib_per_gpu", "cpus_per_gpu", "duration_s")),
        ("memory_gib_per_gpu", ("memory_gib_per_gpu", "duration_s")),
        ("duration_s", ("duration_s",)),
    ],
)
def test_a_demand_is_not_looked_at_to_predict_it(target: str, hidden: tuple[str, ...]) -> None:
    finished, new = jobs_of(100), jobs_of(20, seed=1)
    other = new.with_columns(**{name: np.full(20, 16.0) for name in hidden})
    np.testing.assert_array_equal(*(predict_demand(target, finished, each) for each in (new, other)))


def test_jobs_whose_demand_is_not_known_are_left_out() -> None:
    finished, new = jobs_of(100), jobs_of(5, seed=1)
    memory_gib = np.where(np.arange(100) < 50, 0.0, finished.memory_gib_per_gpu)
    np.testing.assert_array_equal(
        predict_demand("memory_gib_per_gpu", finished.with_columns(memory_gib_per_gpu=memory_gib), new),
        predict_demand("memory_gib_per_gpu", finished.take(slice(50, None)), new),
    )
    message = r"target=memory_gib_per_gpu: is known of 0 finished jobs; 20 or more are needed"
    with pytest.raises(WorkloadError, match=message):
        predict_demand("memory_gib_per_gpu", finished.with_columns(memory_gib_per_gpu=np.zeros(100)), new)
    with pytest.raises(WorkloadError, match=r"target=num_gpu: can't be predicted; did you mean num_gpus\?"):
        predict_demand("num_gpu", finished, new)


# ---- options
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "forest"}, r"estimates\.method=forest: must be one of linear, svr, neural"),
        ({"default_s": 0}, r"estimates\.default_s=0.0: must be more than 0 s"),
        ({"min_jobs": 0}, r"estimates\.min_jobs=0: must be 1 or more"),
        ({"refit_every": 0}, r"estimates\.refit_every=0: must be 1 or more"),
        ({"last": 9, "min_jobs": 10}, r"estimates\.min_jobs=10: must not be more than last, 9"),
        ({"methd": "linear"}, r"estimates\.methd: unknown option; did you mean method\?"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        learned(**options)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.regression.find_spec", lambda module: None)
    with pytest.raises(WorkloadError, match=r"method=svr: needs scikit-learn: pip install 'elastic-gpu-simulator\["):
        Learned(method="svr")
