from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.feature_tables import feature_table
from tests.serving.conftest import SHARES, facts_of, lag_forest
from workload_forecast.errors import ModelError
from workload_forecast.load_quantiles import LoadQuantiles
from workload_forecast.schemas import FEATURE_NAMES
from workload_forecast.serving.compiled import FACTS, SUMS, TREES, compile_trees, read_compiled
from workload_forecast.serving.facts import read_facts
from workload_forecast.serving.saved_models import read_pipeline
from workload_forecast.serving.scorer import Scorer
from workload_forecast.sources import Sources


def test_a_stored_model_answers_like_the_one_in_memory(lag_model: Path) -> None:
    pipeline = read_pipeline(lag_model.parent / "sparkml")
    facts, rows = facts_of(pipeline), feature_table(servers=1, days=5)
    stored = Scorer.load(lag_model)
    assert Scorer.load(lag_model.parent).facts == facts, "the folder of the whole model does as well"
    assert stored.facts == facts
    assert np.array_equal(stored.predict_proba(rows), Scorer(compile_trees(pipeline), facts).predict_proba(rows))


def test_the_folder_holds_what_the_sums_say_and_no_pickle(lag_model: Path) -> None:
    assert {path.name for path in lag_model.iterdir()} == {TREES, FACTS, SUMS}
    lines = (lag_model / SUMS).read_text().splitlines()
    expected = [f"{hashlib.sha256((lag_model / name).read_bytes()).hexdigest()}  {name}" for name in (TREES, FACTS)]
    assert lines == expected
    assert not (lag_model / TREES).read_bytes().startswith(b"\x80")
    json.loads((lag_model / FACTS).read_text(), parse_constant=pytest.fail)


def signed(folder: Path) -> None:
    names = (TREES, FACTS)
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(sums))


def set_fact(folder: Path, **values: Any) -> None:
    facts = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps({k: v for k, v in {**facts, **values}.items() if v is not ...}))
    signed(folder)


def trees(folder: Path, content: bytes) -> None:
    (folder / TREES).write_bytes(content)
    signed(folder)


GATE: dict[str, Any] = {"fleet": "model", "servers": {}, "shares": {}}
FORM: dict[str, Any] = {"kind": "votes", "weights": [], "coefficients": [], "intercepts": []}

DAMAGE: list[tuple[Callable[[Path], Any], str]] = [
    (lambda f: (f / TREES).unlink(), "is no compiled model: trees.treelite cannot be read"),
    (lambda f: (f / FACTS).unlink(), "facts.json cannot be read"),
    (lambda f: (f / SUMS).unlink(), "SHA256SUMS cannot be read"),
    (lambda f: (f / TREES).write_bytes((f / TREES).read_bytes()[:-1]), "trees.treelite is not the file that"),
    (lambda f: (f / FACTS).write_text((f / FACTS).read_text().replace("100.0", "900.0")), "facts.json is not the file"),
    (lambda f: (f / SUMS).write_bytes(b"\xff\x00"), "is not the file that SHA256SUMS names"),
    (lambda f: (f / SUMS).write_text(""), "is not the file that SHA256SUMS names"),
    (lambda f: trees(f, b""), "trees.treelite"),
    (lambda f: trees(f, b"\x80\x04K\x01."), "trees.treelite"),
    (lambda f: trees(f, (f / TREES).read_bytes()[:100]), "trees.treelite"),
    (lambda f: set_fact(f, format=5), "has format 5, this version of the project reads 1 to 4: install"),
    (lambda f: set_fact(f, sources=...), "facts are not what this project writes: KeyError"),
    (lambda f: set_fact(f, sources={**GATE, "fleet": "oracle"}), "cannot be right: source 'oracle'"),
    (lambda f: set_fact(f, sources={**GATE, "fleet": "none"}), "no answer for any server"),
    (lambda f: set_fact(f, sources={**GATE, "servers": {"a": "class_week_ago"}}), "no shares of class_week_ago"),
    (lambda f: set_fact(f, sources={**GATE, "shares": {"class_week_ago": [[1, 0, 0]]}}),
     "cannot be right: the shares of class_week_ago"),
    (lambda f: set_fact(f, load_quantiles=...), "facts are not what this project writes: KeyError"),
    (lambda f: set_fact(f, load_quantiles={"least_error": "x", "factors": []}), "this project writes: ValueError"),
    (lambda f: set_fact(f, load_quantiles={"least_error": 1, "factors": [0, 1]}), "cannot be right: load quantiles"),
    (lambda f: set_fact(f, load_quantiles={"least_error": 1, "factors": [0, 2, 1, 3, 4]}), "cannot be right: load q"),
    (lambda f: set_fact(f, load_quantiles={"least_error": -1, "factors": []}), "cannot be right: load quantiles"),
    (lambda f: set_fact(f, form=...), "facts are not what this project writes: KeyError"),
    (lambda f: set_fact(f, form={**FORM, "kind": "oracle"}), "cannot be right: form 'oracle'"),
    (lambda f: set_fact(f, form={**FORM, "kind": "linear"}), "cannot be right: form 'linear'"),
    (lambda f: set_fact(f, form={**FORM, "kind": "mixture"}), "cannot be right: form 'mixture'"),
    (lambda f: set_fact(f, form={**FORM, "kind": "ordered", "weights": [1, 1, -1]}), "cannot be right: form 'ordered'"),
    (lambda f: set_fact(f, format=...), "facts are not what this project writes: KeyError"),
    (lambda f: set_fact(f, low=...), "facts are not what this project writes: TypeError"),
    (lambda f: set_fact(f, more=1), "facts are not what this project writes: TypeError"),
    (lambda f: set_fact(f, training_to="soon"), "facts are not what this project writes: ValueError"),
    (lambda f: set_fact(f, low=400.0), r"cannot be right: thresholds 400\.0, 300\.0"),
    (lambda f: set_fact(f, missing_hours="perhaps"), "cannot be right: missing_hours 'perhaps'"),
    (lambda f: set_fact(f, classes=["low", "high"]), "cannot be right: the baseline's shares"),
    (lambda f: set_fact(f, algorithm="magic"), "cannot be right: algorithm 'magic'"),
    (lambda f: set_fact(f, features=[{"name": "a", "unknown": None}]),
     f"the trees take {len(FEATURE_NAMES)} features, the facts 1"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=[message[:40] for _, message in DAMAGE])
def test_a_changed_cut_or_foreign_file_is_refused_in_one_line(
    damage: Callable[[Path], Any], message: str, lag_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(lag_model, tmp_path / "model"))
    damage(folder)
    with pytest.raises(ModelError, match=message) as refused:
        Scorer.load(folder)
    assert "\n" not in str(refused.value)


def test_facts_survive_json(tmp_path: Path) -> None:
    facts = facts_of(read_pipeline(lag_forest().save(tmp_path)))
    assert read_facts(facts.to_json()) == facts
    gated = replace(facts, sources=Sources("class_week_ago", {"a": "none"}, {"class_week_ago": SHARES}))
    assert read_facts(gated.to_json()) == gated
    numbered = replace(facts, load_quantiles=LoadQuantiles(0.5, (-2.0, 0.0, 1.5, 1.5, 1e9)))
    assert read_facts(numbered.to_json()) == numbered


def test_facts_of_earlier_formats_have_the_model_answer_everywhere_and_no_quantiles(tmp_path: Path) -> None:
    facts = replace(facts_of(read_pipeline(lag_forest().save(tmp_path))), load_quantiles=LoadQuantiles())
    content = json.loads(facts.to_json())
    del content["load_quantiles"]
    assert read_facts(json.dumps({**content, "format": 3})) == facts
    del content["sources"]
    assert read_facts(json.dumps({**content, "format": 2})) == facts


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no compiled model"):
        read_compiled(tmp_path / "missing")


def test_what_was_compiled_before_there_were_forms_is_read_as_votes(lag_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lag_model, tmp_path / "model"))
    set_fact(folder, format=1, form=..., sources=..., load_quantiles=...)
    older, rows = Scorer.load(folder), feature_table(servers=1, days=5)
    assert older.facts == replace(Scorer.load(lag_model).facts, load_quantiles=LoadQuantiles())
    assert np.array_equal(older.predict_proba(rows), Scorer.load(lag_model).predict_proba(rows))
