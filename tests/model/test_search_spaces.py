from __future__ import annotations

from pathlib import Path

import pytest

from workload_forecast.errors import ModelError, SettingsError
from workload_forecast.model import search_spaces
from workload_forecast.model.pipeline import ALGORITHMS
from workload_forecast.model.search_spaces import SEARCH_SPACES, Choice, Dimension, Integer, Real, search_space

DIMENSIONS = [(algorithm, name) for algorithm in ALGORITHMS for name in SEARCH_SPACES[algorithm]]


def test_every_algorithm_has_a_space_even_if_it_is_empty() -> None:
    missing = sorted(set(ALGORITHMS) - set(SEARCH_SPACES))
    assert not missing, f"add to SEARCH_SPACES: {missing}"


@pytest.mark.parametrize(("algorithm", "name"), DIMENSIONS)
def test_a_dimension_is_a_parameter_of_the_algorithm_and_holds_its_default(algorithm: str, name: str) -> None:
    assert name != "seed", "the seed is no way to a better model"
    assert ALGORITHMS[algorithm].defaults[name] in SEARCH_SPACES[algorithm][name]


@pytest.mark.parametrize(("algorithm", "name"), DIMENSIONS)
def test_a_dimension_leaves_something_to_choose(algorithm: str, name: str) -> None:
    dimension = SEARCH_SPACES[algorithm][name]
    if isinstance(dimension, Choice):
        assert len(set(dimension.values)) == len(dimension.values) > 1
    else:
        assert dimension.low < dimension.high
        assert dimension.low > 0 or not dimension.log


def test_the_documented_bounds_are_those_of_the_spaces() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text()
    lines = text[text.index("| parameter | random_forest") :].split("\n\n")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    found = {}
    for parameter, *cells in rows:
        for algorithms, cell in zip(head[1:], cells, strict=True):
            for algorithm in algorithms.split(", ") if cell else []:
                if not cell.startswith("forest: ") or algorithm == "random_forest":
                    found[algorithm, parameter.strip("`")] = cell.removeprefix("forest: ")

    def shown(dimension: Dimension) -> str:
        if isinstance(dimension, Choice):
            return ", ".join(map(str, dimension.values))
        return f"{dimension.low:g} to {dimension.high:g}" + (", log" if dimension.log else "")

    assert found == {(algorithm, name): shown(SEARCH_SPACES[algorithm][name]) for algorithm, name in DIMENSIONS}


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        (Integer(3, 14), (3, 14), (2, 15, 7.5, "7")),
        (Real(0.01, 1.0, log=True), (0.01, 0.3, 1), (0.0, 1.1, "0.3")),
        (Choice(("sqrt", 32)), ("sqrt", 32), ("log2", 33)),
    ],
)
def test_what_lies_in_a_dimension(
    dimension: Dimension, inside: tuple[object, ...], outside: tuple[object, ...]
) -> None:
    assert all(value in dimension for value in inside)
    assert not any(value in dimension for value in outside)


def test_an_unknown_algorithm_is_named() -> None:
    with pytest.raises(ModelError, match="'magic' is unknown"):
        search_space("magic")


def test_an_algorithm_without_anything_to_tune_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = {**SEARCH_SPACES, "decision_tree": {}}
    monkeypatch.setattr(search_spaces, "SEARCH_SPACES", spaces)
    with pytest.raises(SettingsError, match=r"'decision_tree' has nothing to tune.* train.*random_forest"):
        search_space("decision_tree")
