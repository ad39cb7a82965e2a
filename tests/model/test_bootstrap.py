from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from workload_forecast.errors import ModelError
from workload_forecast.model import bootstrap
from workload_forecast.model.bootstrap import interval, macro_f1, resampled_macro_f1

Block = list[tuple[int, int, int]]  # of each row: the true class and what two predictors said
BLOCKS = st.lists(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=5), min_size=1, max_size=5)

#: Of the counts and the seed below: other numbers mean that results of older runs can no longer be made again.
GOLDEN = [
    [0.3502575855517032, 0.3321753055349334],
    [0.3847531742268584, 0.36599851752468027],
    [0.39670298601596315, 0.35765932633600883],
    [0.3599388668305288, 0.3506784017700267],
]


def matrices(blocks: list[Block]) -> np.ndarray:
    counts = np.zeros((len(blocks), 2, 3, 3), dtype=np.int64)
    for number, rows in enumerate(blocks):
        for true, *said in rows:
            for predictor, answer in enumerate(said):
                counts[number, predictor, true, answer] += 1
    return counts


def oracle(rows: Block) -> list[float]:
    """Macro-F1 of both predictors from the rows themselves."""
    true, *said = zip(*rows, strict=True)
    return [float(f1_score(true, answers, average="macro", zero_division=0)) for answers in said]


def draws(seed: int, blocks: int, resamples: int) -> Iterator[list[int]]:
    """The stream in plain Python: two numbers from each raw one of PCG64, the upper half first; none is kept over."""
    stream = np.random.PCG64(seed)
    for _ in range(resamples):
        halves: list[int] = []
        while len(halves) < blocks:
            raw = int(stream.random_raw())
            halves += [raw // 2**32, raw % 2**32]
        yield [half * blocks // 2**32 for half in halves[:blocks]]


@given(BLOCKS, st.integers(0, 2**40))
@settings(max_examples=20, deadline=None)
def test_every_resample_agrees_with_scikit_learn_on_the_rows_that_were_drawn(blocks: list[Block], seed: int) -> None:
    found = resampled_macro_f1(matrices(blocks), 6, seed)
    expected = [
        oracle([row for position in drawn for row in blocks[position]]) for drawn in draws(seed, len(blocks), 6)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_resamples_are_spread_like_all_possible_ones() -> None:
    blocks: list[Block] = [
        [(0, 0, 1), (2, 2, 2)],
        [(1, 1, 0), (2, 0, 2), (1, 1, 1)],
        [(0, 2, 0), (1, 1, 2)],
        [(2, 2, 1)],
    ]
    every = []
    for chosen in itertools.product(blocks, repeat=4):  # 256, all equally likely
        ours, theirs = oracle([row for rows in chosen for row in rows])
        every.append(ours - theirs)
    found = resampled_macro_f1(matrices(blocks), 40_000, 1)
    gains = found[:, 0] - found[:, 1]
    assert gains.mean() == pytest.approx(np.mean(every), abs=4 * np.std(every) / 200)
    assert gains.std() == pytest.approx(np.std(every), rel=0.02)
    for threshold in np.quantile(every, [0.1, 0.3, 0.5, 0.7, 0.9]):
        limit = threshold + 1e-9  # the two sides add in different orders
        assert (gains <= limit).mean() == pytest.approx(np.mean(np.array(every) <= limit), abs=0.01)


def test_a_seed_means_the_same_numbers_everywhere() -> None:
    counts = np.arange(7 * 2 * 9).reshape(7, 2, 3, 3) % 5 + 1
    found = resampled_macro_f1(counts, 4, 42)
    np.testing.assert_allclose(found, GOLDEN, rtol=0, atol=1e-15)
    assert not np.array_equal(found, resampled_macro_f1(counts, 4, 43))


@pytest.mark.parametrize(("chunk", "piece"), [(1, 1), (50, 3), (10**6, 10**6)])
def test_the_size_of_chunks_does_not_matter(chunk: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(5).integers(0, 9, (23, 3, 3, 3))
    expected = resampled_macro_f1(counts, 17, 9)
    monkeypatch.setattr(bootstrap, "_CHUNK", chunk)
    monkeypatch.setattr(bootstrap, "_SLICE", piece)
    np.testing.assert_array_equal(resampled_macro_f1(counts, 17, 9), expected)


def test_many_large_blocks_are_counted_exactly() -> None:
    counts = np.zeros((3, 1, 3, 3), dtype=np.int64)
    counts[:, 0] = np.diag([10**9, 10**9, 10**9])
    counts[0, 0, 0, 1] = 1
    drawn = list(draws(3, 3, 50))
    expected = []
    for positions in drawn:
        hits, wrong = 3 * 10**9, positions.count(0)
        expected.append((2 * (2 * hits / (2 * hits + wrong)) + 1) / 3)
    np.testing.assert_allclose(resampled_macro_f1(counts, 50, 3)[:, 0], expected, rtol=0, atol=1e-15)


def test_classes_that_never_occur_have_no_weight() -> None:
    hits, both = np.array([[3.0, 0.0, 0.0], [0.0] * 3]), np.array([[6.0, 0.0, 2.0], [0.0] * 3])
    assert macro_f1(hits, both).tolist() == pytest.approx([0.5, np.nan], nan_ok=True)


def test_interval_cuts_both_tails() -> None:
    assert interval(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))


@pytest.mark.parametrize(("blocks", "resamples", "seed"), [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_nothing_to_draw_is_an_error(blocks: int, resamples: int, seed: int) -> None:
    with pytest.raises(ModelError, match=f"{blocks} blocks, resamples={resamples}, seed={seed}"):
        resampled_macro_f1(np.ones((blocks, 2, 3, 3), dtype=np.int64), resamples, seed)
