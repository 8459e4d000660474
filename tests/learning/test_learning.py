"""Classifiers: samples for training, the network, its scores, and what is said about them."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from alp_coffea.errors import (
    ConfigurationError,
    InputError,
    MissingFieldError,
    UnreadableFileError,
)
from alp_coffea.learning import Classifier
from alp_coffea.learning.card import Evaluation, markdown, model_card
from alp_coffea.learning.evaluation import (
    importance,
    overtraining,
    roc,
    scores,
    sculpting,
)
from alp_coffea.learning.samples import SHARES, TrainingSample

pytest.importorskip("torch")

from alp_coffea.learning.training import Hyperparameters, Trained, train

SMALL = Hyperparameters(depth=2, width=16, epochs=30, batch=256, learning_rate=3e-3, patience=6)
SEPARATION = 1.5


def gaussians(n: int = 6000, seed: int = 1, masses: tuple[float, ...] = (1.0, 4.0)):
    """Unit Gaussians in x, signal and background a distance apart; y says nothing."""
    rng = np.random.default_rng(seed)
    signal = np.repeat([True, False], n // 2)
    x = rng.normal(size=n) + SEPARATION * signal
    mass = np.where(signal, rng.choice(masses, n, p=[0.8, 0.2]), np.nan)
    return TrainingSample(
        features=np.column_stack([x, rng.normal(size=n)]).astype(np.float32),
        signal=signal,
        weight=np.where(signal, 1e-4, rng.uniform(0.5, 2, n)),
        mass=mass,
        observed=np.where(signal, mass, rng.uniform(0, 9, n)),
        role=rng.choice(3, n, p=[*SHARES.values()]).astype(np.int8),
        source=np.where(signal, np.searchsorted(masses, mass), len(masses)).astype(np.int16),
        ranges={"x": (-6.0, 8.0), "y": (-6.0, 6.0)},
        names=("light", "heavy", "other"),
    )


@pytest.fixture(scope="module")
def sample() -> TrainingSample:
    return gaussians()


@pytest.fixture(scope="module")
def trained(sample: TrainingSample) -> Trained:
    return train(sample, SMALL)


# --- samples -------------------------------------------------------------------------------------


def test_masses_and_classes_count_the_same_and_backgrounds_keep_their_shares(
    sample: TrainingSample,
) -> None:
    weight = sample.balanced
    assert weight.sum() == pytest.approx(len(sample))
    assert weight[sample.signal].sum() == pytest.approx(0.5 * len(sample))
    light, heavy = (weight[sample.mass == mass].sum() for mass in (1.0, 4.0))
    assert light == pytest.approx(heavy)
    other = ~sample.signal
    ratio = weight[other] / sample.weight[other]
    np.testing.assert_allclose(ratio, ratio[0])


def test_thinning_leaves_as_many_signal_as_background_events(sample: TrainingSample) -> None:
    more = sample.where(sample.signal | (np.arange(len(sample)) % 4 == 0))
    thin = more.thinned(3)
    assert thin.signal.sum() == (~thin.signal).sum() == (~more.signal).sum()
    np.testing.assert_array_equal(thin.features, more.thinned(3).features)
    assert not np.array_equal(thin.features, more.thinned(4).features)
    assert thin.thinned(3) is thin


def test_features_outside_their_range_are_put_on_its_ends(sample: TrainingSample) -> None:
    moved = dataclasses.replace(
        sample, features=np.array([[-6, 0], [1, 99], [8, -99]], dtype=np.float32)
    )
    np.testing.assert_array_equal(moved.scaled, np.float32([[0, 0.5], [0.5, 1], [1, 0]]))


# --- network -------------------------------------------------------------------------------------


def test_the_network_learns_what_can_be_learned(trained: Trained, sample: TrainingSample) -> None:
    """The best possible area of two Gaussians a distance d apart is Phi(d / sqrt 2)."""
    test = sample.of("test")
    score = scores(trained.classifier, test)
    best = stats.norm.cdf(SEPARATION / np.sqrt(2))
    area = roc(score, test.signal, test.balanced).auc
    n = len(test) / 4  # of each class, with unequal masses
    assert best - 0.02 - 3 * np.sqrt(best * (1 - best) / n) < area < best + 0.05
    # the score is the posterior probability for equal classes
    x = test.features[:, 0].astype(float)
    posterior = special.expit(SEPARATION * x - SEPARATION**2 / 2)
    inside = np.abs(x - SEPARATION / 2) < 2
    assert np.abs(score - posterior)[inside].mean() < 0.05


def test_one_seed_gives_one_network(trained: Trained, sample: TrainingSample) -> None:
    short = dataclasses.replace(SMALL, epochs=3)
    first, second = train(sample, short), train(sample, short)
    assert first.classifier == second.classifier
    losses = [(e.training, e.validation) for e in first.history]
    assert losses == [(e.training, e.validation) for e in second.history]
    other = train(sample, dataclasses.replace(short, seed=1))
    assert other.classifier.content != first.classifier.content


def test_the_kept_epoch_is_the_best_and_training_stops_after_it(trained: Trained) -> None:
    validation = [epoch.validation for epoch in trained.history]
    assert trained.best == int(np.argmin(validation)) + 1
    assert len(validation) in (SMALL.epochs, trained.best + SMALL.patience)


def test_test_events_are_never_seen(sample: TrainingSample) -> None:
    """Other labels of the test events change nothing."""
    short = dataclasses.replace(SMALL, epochs=2)
    wrong = np.where(sample.role == 2, ~sample.signal, sample.signal)
    changed = dataclasses.replace(sample, signal=wrong)
    assert train(changed, short).classifier == train(sample, short).classifier


def test_the_file_computes_what_the_network_does(trained: Trained, sample: TrainingSample) -> None:
    """Against a product of matrices in numpy, from the file's weights."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(trained.classifier.content).graph
    w = {t.name: numpy_helper.to_array(t).astype(float) for t in graph.initializer}
    x = sample.scaled[:500].astype(float)
    for layer in range(SMALL.depth):
        y = x @ w[f"w{layer}"].T + w[f"b{layer}"]
        x = np.where(y > 0, y, np.expm1(y))
    logit = x @ w[f"w{SMALL.depth}"].T + w[f"b{SMALL.depth}"]
    expected = special.expit(logit[:, 0])
    found = scores(trained.classifier, sample.where(np.arange(len(sample)) < 500))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2100), st.integers(0, 2**32 - 1))
def test_a_score_depends_on_its_event_only(trained: Trained, count: int, seed: int) -> None:
    """To the last bit, whatever chunk it is in."""
    values = np.random.default_rng(0).normal(size=(2100, 2))
    whole = trained.classifier.score({"x": values[:, 0], "y": values[:, 1]})
    order = np.random.default_rng(seed).permutation(2100)[:count]
    part = trained.classifier.score({"y": values[order, 1], "x": values[order, 0]})
    np.testing.assert_array_equal(part, whole[order])


def test_scores_of_missing_values_are_missing(trained: Trained) -> None:
    score = trained.classifier.score({"x": [0.0, np.nan, np.inf], "y": [0.0, 0.0, 0.0]})
    assert np.isfinite(score[0])
    assert np.isnan(score[1:]).all()
    assert trained.classifier.score({"x": [], "y": []}).shape == (0,)


def test_classifiers_travel_and_mistakes_are_named(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "c.onnx"
    path.write_bytes(trained.classifier.content)
    read = Classifier.read(path)
    assert read == trained.classifier == pickle.loads(pickle.dumps(read))
    with pytest.raises(MissingFieldError, match=r"no column for its features y"):
        read.score({"x": [1.0]})
    with pytest.raises(InputError, match="one value per event"):
        read.score({"x": [1.0], "y": [1.0, 2.0]})
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        Classifier.read(tmp_path / "none.onnx")
    path.write_bytes(trained.classifier.content[:200])
    with pytest.raises(UnreadableFileError, match=r"c\.onnx: not an ONNX file"):
        Classifier.read(path)


@pytest.mark.parametrize("change", [{"depth": 0}, {"learning_rate": 0.0}, {"epochs": -1}])
def test_impossible_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(change))):
        Hyperparameters(**change)


def test_the_defaults_are_the_published_ones() -> None:
    """R1 table 7.3."""
    settings = Hyperparameters()
    assert (settings.depth, settings.width, settings.epochs, settings.batch) == (12, 170, 240, 4608)
    assert settings.learning_rate == 1e-4


# --- evaluation ----------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
def test_the_area_is_the_probability_to_be_ordered(seed: int) -> None:
    """Mann and Whitney, with ties and weights, by counting pairs."""
    rng = np.random.default_rng(seed)
    score, signal = rng.integers(0, 6, 40) / 5, np.arange(40) % 2 == 0
    weight = rng.uniform(0.1, 3, 40)
    a, b = score[signal], score[~signal]
    ordered = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    pairs = weight[signal][:, None] * weight[~signal]
    curve = roc(score, signal, weight)
    assert curve.auc == pytest.approx((ordered * pairs).sum() / pairs.sum())
    for threshold in (0.0, 0.3, 0.4, 1.0):
        for found, kind in zip(curve.at(threshold), (signal, ~signal), strict=True):
            expected = weight[kind & (score > threshold)].sum() / weight[kind].sum()
            assert found == pytest.approx(expected)


def test_overtraining_is_the_test_of_kolmogorov_and_smirnov() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.uniform(size=400), rng.uniform(size=300) ** 1.2
    found = overtraining(a, b, np.ones(400), np.ones(300))
    expected = stats.ks_2samp(a, b, method="asymp")
    assert found.distance == pytest.approx(expected.statistic)
    # scipy corrects its asymptotic formula for small samples
    assert found.probability == pytest.approx(expected.pvalue, rel=0.2)


def test_sculpting_sees_a_notch(sample: TrainingSample) -> None:
    smooth = np.linspace(0, 1, len(sample))
    assert sculpting(sample, np.random.default_rng(0).permutation(smooth), 0.5).chi2 < 2.5
    notch = np.where(np.abs(sample.observed - 5) < 0.4, 0.1, smooth)
    assert sculpting(sample, notch, 0.5).chi2 > 5


def test_importance_ranks_what_separates(sample: TrainingSample) -> None:
    rows = importance(sample, [("x",), ("y",)], dataclasses.replace(SMALL, epochs=6))
    full, x, y = rows
    assert full.without == ()
    assert abs(x.auc - 0.5) < 0.05 < full.auc - x.auc
    assert abs(full.auc - y.auc) < 0.02


def test_the_card_says_what_it_is(trained: Trained, sample: TrainingSample) -> None:
    import hashlib

    evaluation = Evaluation(trained, sample, 0.7)
    card = json.loads(json.dumps(model_card(evaluation), allow_nan=False))
    assert card["sha256"] == hashlib.sha256(trained.classifier.content).hexdigest()
    counts = [card["samples"][name][role] for name in sample.names for role in SHARES]
    assert sum(counts) == len(sample)
    (row,) = (row for row in card["working_points"] if row["threshold"] == 0.7)
    assert row["background"] == pytest.approx(row["other"], abs=1e-12)
    mean = np.mean([*card["efficiency_by_mass"].values()])
    assert mean == pytest.approx(row["signal"], abs=1e-12)
    text = markdown(card)
    assert card["sha256"] in text
    assert f"{card['auc']:.4f}" in text
