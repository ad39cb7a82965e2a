from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.serving.saved_pipelines import Leaf, Saved, Split
from workload_forecast.errors import ModelError
from workload_forecast.schemas import CLASSES, FEATURE_NAMES, KNOWN_FEATURES
from workload_forecast.serving.saved_models import read_pipeline

STUMP = Split(3, 0.5, Leaf((3.0, 1.0, 0.0)), Leaf((0.0, 1.0, 1.0)))
FOREST = Saved([STUMP, Leaf((1.0, 1.0, 1.0))])


@pytest.mark.parametrize("forest", [True, False])
@pytest.mark.parametrize("weight_column", ["weights", "_3"])
def test_a_pipeline_is_read_as_it_was_saved(tmp_path: Path, forest: bool, weight_column: str) -> None:
    saved = replace(FOREST, forest=forest, trees=[STUMP], weight_column=weight_column, spark_version="3.5.1-vendor-2")
    found = read_pipeline(saved.save(tmp_path))
    assert tuple(feature.name for feature in found.features) == FEATURE_NAMES
    assert {feature.name for feature in found.features if feature.unknown is None} == set(KNOWN_FEATURES)
    assert {feature.unknown for feature in found.features} == {None, -1.0}
    assert (found.classes, found.forest, found.spark_version) == (CLASSES, forest, "3.5.1-vendor-2")
    (tree,) = found.trees
    assert (tree.left.tolist(), tree.right.tolist()) == ([1, -1, -1], [2, -1, -1])
    assert (tree.feature[0], tree.threshold[0]) == (3, 0.5)
    assert tree.values[1:].tolist() == [[3.0, 1.0, 0.0], [0.0, 1.0, 1.0]]


GBT = (*Saved.kinds[:2], "classification.GBTClassificationModel", Saved.kinds[3])

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"spark_version": "4.3.0"}, r"was saved by Spark 4\.3\.0\. Only pipelines .* Spark 3\.5 to 4\.2"),
    ({"spark_version": "3.4.9"}, r"was saved by Spark 3\.4\.9"),
    ({"spark_version": "new"}, "was saved by Spark new"),
    ({"kinds": GBT}, "stages are SQLTransformer, VectorAssembler, GBTClassificationModel, IndexToString; expected"),
    ({"kinds": ("feature.Imputer", "feature.VectorAssembler", "", "feature.IndexToString")}, "stages are Imputer, "),
    ({"vector_params": {"handleInvalid": "keep"}}, "handleInvalid is 'keep', expected 'error'"),
    ({"classifier_params": {"featuresCol": "others"}}, "featuresCol is 'others', expected 'features'"),
    ({"classifier_params": {"predictionCol": "other"}}, "inputCol is 'class_index', expected 'other'"),
    ({"classifier_params": {"thresholds": [0.2, 0.3, 0.5]}}, "thresholds for the classes' probabilities"),
    ({"classifier": {"numFeatures": 7}}, f"numFeatures is 7, the other stages have {len(FEATURE_NAMES)}"),
    ({"classifier": {"numClasses": 2}}, "numClasses is 2, the other stages have 3"),
    ({"classifier": {"numTrees": 3}}, "holds 2 trees, not 3"),
    ({"weights": 0.5}, "different weights"),
    ({"statement": "SELECT * FROM __THIS__"}, r"the statement holds 'SELECT \* FROM __THIS__', which is not known"),
    ({"statement": "SELECT *, coalesce(nanvl(CAST(a AS DOUBLE), -1.0D), 0.0D) AS known_a FROM __THIS__"}, "not known"),
    ({"statement": "SELECT *, coalesce(nanvl(CAST(a AS DOUBLE), -1.0D), -1.0D) AS b, 2 AS c FROM __THIS__"}, "'coal"),
    ({"calendar": ("year", "year")}, "numFeatures|a feature stands in the vector twice"),
    ({"trees": [Split(99, 0.5, Leaf((1.0,) * 3), Leaf((1.0,) * 3))]}, "tree 0 is damaged"),
    ({"trees": [Split(1, float("nan"), Leaf((1.0,) * 3), Leaf((1.0,) * 3))]}, "threshold that is no number"),
    ({"trees": [Leaf((1.0, -1.0, 0.0))]}, "reached by less than no row"),
    ({"trees": [Leaf((1.0, 1.0))]}, "does not hold the nodes"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_is_not_known_is_refused_by_name_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        read_pipeline(replace(FOREST, **change).save(tmp_path))
    assert "\n" not in str(refused.value)


def change_nodes(folder: Path, **values: Any) -> None:
    """Change the first node of a saved single tree."""
    (file,) = folder.glob("stages/2_*/data/*.parquet")
    rows = pq.ParquetFile(file).read().to_pylist()
    rows[0] |= values
    pq.write_table(pa.Table.from_pylist(rows), file)


CATEGORIES = {"featureIndex": 3, "leftCategoriesOrThreshold": [0.0, 2.0], "numCategories": 4}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": CATEGORIES}, "tree 0 splits by categories"),
        ({"rightChild": 1}, "tree 0 is damaged"),
        ({"leftChild": -1}, "tree 0 is damaged"),
        ({"leftChild": 0}, "tree 0 is damaged"),
        ({"id": 5}, "tree 0 is damaged"),
    ],
)
def test_a_damaged_tree_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    replace(FOREST, forest=False, trees=[STUMP]).save(tmp_path)
    change_nodes(tmp_path, **values)
    with pytest.raises(ModelError, match=message):
        read_pipeline(tmp_path)


def test_a_folder_that_is_no_model_or_not_all_of_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no saved Spark ML model"):
        read_pipeline(tmp_path)
    FOREST.save(tmp_path)
    stage = next(tmp_path.glob("stages/2_*"))
    file = next(stage.glob("data/*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[:-7])
    with pytest.raises(ModelError, match=r"cannot be read: .* Train or fetch"):
        read_pipeline(tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match="holds no Parquet file"):
        read_pipeline(tmp_path)
    stage.rename(stage.with_name("2_other"))
    with pytest.raises(ModelError, match=r"stages/2_.* is no saved Spark ML model"):
        read_pipeline(tmp_path)
    (tmp_path / "metadata" / "part-00000").write_text("{")
    with pytest.raises(ModelError, match="is not what Spark ML writes"):
        read_pipeline(tmp_path)
