"""Build the compiled model from a saved pipeline, and keep it in a folder: trees, facts, and the digests of both.

========================  ==================================================================
file                      holds
========================  ==================================================================
``trees.treelite``        the trees, in treelite's own serialised form (plain numbers, no code)
``facts.json``            :class:`~workload_forecast.serving.facts.Facts`
``SHA256SUMS``            the digest of each of the two, as ``sha256sum -c`` reads it
========================  ==================================================================
"""

from __future__ import annotations

import hashlib
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import treelite
from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

from workload_forecast.errors import ModelError
from workload_forecast.serving.facts import Facts, read_facts
from workload_forecast.serving.saved_trees import Doubles, SavedPipeline, Tree

TREES, FACTS, SUMS = "trees.treelite", "facts.json", "SHA256SUMS"

#: The compiled model's folder in a logged model.
COMPILED = "compiled"


def compile_trees(pipeline: SavedPipeline) -> treelite.Model:
    """Return the trees as a treelite model whose output is the sum of the trees' votes, one number a class.

    Everything is a 64-bit float, and votes are added tree by tree from 0 on, as Spark does: the same bits come out.
    """
    classes = len(pipeline.classes)
    builder = ModelBuilder(
        threshold_type="float64",
        leaf_output_type="float64",
        metadata=Metadata(
            num_feature=len(pipeline.features),
            task_type="kMultiClf",
            average_tree_output=False,
            num_target=1,
            num_class=[classes],
            leaf_vector_shape=(1, classes),
        ),
        tree_annotation=TreeAnnotation(
            num_tree=len(pipeline.trees), target_id=[0] * len(pipeline.trees), class_id=[-1] * len(pipeline.trees)
        ),
        postprocessor=PostProcessorFunc(name="identity_multiclass"),
        base_scores=[0.0] * classes,
    )
    for tree in pipeline.trees:
        _add_tree(builder, tree, shares(tree.counts) if pipeline.forest else tree.counts)
    return builder.commit()


def _add_tree(builder: ModelBuilder, tree: Tree, votes: Doubles) -> None:
    builder.start_tree()
    nodes = zip(
        tree.left.tolist(), tree.right.tolist(), tree.feature.tolist(), tree.threshold.tolist(), votes.tolist(),
        strict=True,
    )  # fmt: skip
    for number, (left, right, feature, threshold, vote) in enumerate(nodes):
        builder.start_node(number)
        if left < 0:
            builder.leaf(vote)
        else:
            builder.numerical_test(
                feature, threshold, default_left=False, opname="<=", left_child_key=left, right_child_key=right
            )
        builder.end_node()
    builder.end_tree()


def shares(counts: Doubles) -> Doubles:
    """Divide each row by its sum, taken from left to right as Spark takes it; a row of zeros stays one."""
    totals = reduce(add, counts.T, np.zeros(len(counts)))
    return np.divide(counts, totals[:, np.newaxis], out=np.zeros_like(counts), where=totals[:, np.newaxis] != 0)


def write_compiled(folder: Path, trees: treelite.Model, facts: Facts) -> None:
    """Write the three files into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {TREES: trees.serialize_bytes(), FACTS: facts.to_json().encode()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    (folder / SUMS).write_text(sums, encoding="ascii")


def read_compiled(folder: Path) -> tuple[treelite.Model, Facts]:
    """Read what :func:`write_compiled` wrote; nothing is looked at before its digest is right.

    Args:
        folder: that one, or the folder of a logged model that holds it as :data:`COMPILED`.

    Raises:
        ModelError: a file is missing, was changed or is not what this project writes.
    """
    folder = folder / COMPILED if (folder / COMPILED).is_dir() else folder
    sums = _read(folder, SUMS).decode("ascii", errors="replace").splitlines()
    digests = {line[66:]: line[:64] for line in sums}
    contents = {name: _read(folder, name) for name in (TREES, FACTS)}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != digests.get(name):
            raise ModelError(f"{folder / name} is not the file that {SUMS} names: it was changed or is cut. {_FETCH}")
    try:
        facts = read_facts(contents[FACTS].decode())
    except (UnicodeDecodeError, ModelError) as problem:
        raise ModelError(f"{folder}: {problem}") from None
    try:
        trees = treelite.Model.deserialize_bytes(contents[TREES])
    except treelite.TreeliteError as problem:
        text = str(problem).strip().splitlines()[-1]
        ours = f"treelite {treelite.__version__} cannot read {folder / TREES}, written by {facts.treelite_version}"
        raise ModelError(f"{ours}: {text}. {_FETCH}") from None
    if trees.num_feature != len(facts.features):
        raise ModelError(f"{folder}: the trees take {trees.num_feature} features, the facts {len(facts.features)}.")
    return trees, facts


_FETCH = "Fetch the model again, or train it again."


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as problem:
        raise ModelError(
            f"{folder} is no compiled model: {name} cannot be read ({problem.strerror}). {_FETCH}"
        ) from None
