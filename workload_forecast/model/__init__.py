"""Labels, split, unfitted pipeline, baselines, evaluation, figures; :func:`~.training.train` composes them."""
