"""Build the compiled model from a saved pipeline, and keep it in a folder: facts, trees if any, and their digests.

========================  ==================================================================
file                      holds
========================  ==================================================================
``trees.treelite``        the trees, in treelite's own serialised form (plain numbers, no code); not of every form
``facts.json``            :class:`~workload_forecast.serving.facts.Facts`
``SHA256SUMS``            the digest of each of these, as ``sha256sum -c`` reads it
========================  ==================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import treelite
from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

from workload_forecast.errors import ModelError
from workload_forecast.serving.facts import Facts, read_facts
from workload_forecast.serving.kinds import shares
from workload_forecast.serving.saved_models import SavedPipeline
from workload_forecast.serving.saved_trees import Doubles, Tree

TREES, FACTS, SUMS = "trees.treelite", "facts.json", "SHA256SUMS"

#: The compiled model's folder in a logged model.
COMPILED = "compiled"


def compile_trees(pipeline: SavedPipeline) -> treelite.Model | None:
    """Return the trees as a treelite model whose output is the sum of what they give, one number an output.

    Everything is a 64-bit float (of XGBoost, a 32-bit one), and votes are added tree by tree from 0 on, as Spark does:
    the same bits come out.
    None where the pipeline has no trees.
    """
    if not pipeline.trees:
        return None
    count, outputs = len(pipeline.trees), pipeline.trees[0].values.shape[1]
    several = outputs > 1
    # XGBoost's numbers have 32 bits, and a row goes left where its value is below the threshold, not at it.
    floats, operator = ("float32", "<") if pipeline.form.kind == "boosted" else ("float64", "<=")
    builder = ModelBuilder(
        threshold_type=floats,
        leaf_output_type=floats,
        metadata=Metadata(
            num_feature=len(pipeline.features),
            task_type="kMultiClf" if several else "kRegressor",
            average_tree_output=False,
            num_target=1,
            num_class=[outputs],
            leaf_vector_shape=(1, outputs),
        ),
        tree_annotation=TreeAnnotation(num_tree=count, target_id=[0] * count, class_id=[-1 if several else 0] * count),
        postprocessor=PostProcessorFunc(name="identity_multiclass" if several else "identity"),
        base_scores=[0.0] * outputs,
    )
    for tree in pipeline.trees:
        _add_tree(builder, tree, shares(tree.values) if pipeline.forest else tree.values, operator)
    return builder.commit()


def _add_tree(builder: ModelBuilder, tree: Tree, votes: Doubles, operator: str) -> None:
    builder.start_tree()
    nodes = zip(
        tree.left.tolist(), tree.right.tolist(), tree.feature.tolist(), tree.threshold.tolist(), votes.tolist(),
        strict=True,
    )  # fmt: skip
    for number, (left, right, feature, threshold, vote) in enumerate(nodes):
        builder.start_node(number)
        if left < 0:
            builder.leaf(vote if len(vote) > 1 else vote[0])
        else:
            builder.numerical_test(
                feature, threshold, default_left=False, opname=operator, left_child_key=left, right_child_key=right
            )
        builder.end_node()
    builder.end_tree()


def write_compiled(folder: Path, trees: treelite.Model | None, facts: Facts) -> None:
    """Write the files into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {TREES: trees.serialize_bytes()} if trees else {}
    contents[FACTS] = facts.to_json().encode()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    (folder / SUMS).write_text(sums, encoding="ascii")


def read_compiled(folder: Path) -> tuple[treelite.Model | None, Facts]:
    """Read what :func:`write_compiled` wrote; nothing is looked at before its digest is right.

    Args:
        folder: that one, or the folder of a logged model that holds it as :data:`COMPILED`.

    Raises:
        ModelError: a file is missing, was changed or is not what this project writes.
    """
    folder = folder / COMPILED if (folder / COMPILED).is_dir() else folder
    sums = _read(folder, SUMS).decode("ascii", errors="replace").splitlines()
    digests = {line[66:]: line[:64] for line in sums}
    content = _checked(folder, FACTS, digests)
    try:
        facts = read_facts(content.decode())
    except (UnicodeDecodeError, ModelError) as problem:
        raise ModelError(f"{folder}: {problem}") from None
    return _read_trees(folder, digests, facts) if facts.form.has_trees else None, facts


def _read_trees(folder: Path, digests: Mapping[str, str], facts: Facts) -> treelite.Model:
    content = _checked(folder, TREES, digests)
    try:
        trees = treelite.Model.deserialize_bytes(content)
    except treelite.TreeliteError as problem:
        text = str(problem).strip().splitlines()[-1]
        ours = f"treelite {treelite.__version__} cannot read {folder / TREES}, written by {facts.treelite_version}"
        raise ModelError(f"{ours}: {text}. {_FETCH}") from None
    if trees.num_feature != len(facts.features):
        raise ModelError(f"{folder}: the trees take {trees.num_feature} features, the facts {len(facts.features)}.")
    return trees


_FETCH = "Fetch the model again, or train it again."


def _checked(folder: Path, name: str, digests: Mapping[str, str]) -> bytes:
    content = _read(folder, name)
    if hashlib.sha256(content).hexdigest() != digests.get(name):
        raise ModelError(f"{folder / name} is not the file that {SUMS} names: it was changed or is cut. {_FETCH}")
    return content


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as problem:
        raise ModelError(
            f"{folder} is no compiled model: {name} cannot be read ({problem.strerror}). {_FETCH}"
        ) from None
