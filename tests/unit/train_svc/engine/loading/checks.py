"""What holds for every source: any batch can be made alone, in any order, again."""

from collections.abc import Callable

import numpy as np

from services.train_svc.engine.batch import Batch, Source


def same(a: Batch, b: Batch) -> bool:
    return list(a.ids) == list(b.ids) and all(
        x.keys() == y.keys() and all(np.array_equal(x[name], y[name]) for name in x)
        for x, y in ((a.inputs, b.inputs), (a.targets, b.targets), (a.draws, b.draws))
    )


def assert_pure(make: Callable[[], Source], steps: int) -> list[Batch]:
    """Check that batch k alone is batch k of a run, whatever was asked for before, and return the run's batches."""
    source = make()
    run = [source.at(step) for step in range(steps)]
    digest, per_epoch = source.digest, source.steps_per_epoch
    again = make()
    for step in np.random.default_rng(0).permutation(steps):
        assert same(again.at(int(step)), run[step]), f"batch {step} after others"
        assert same(make().at(int(step)), run[step]), f"batch {step} alone"
        assert same(source.at(int(step)), run[step]), f"batch {step} again"
    assert (again.digest, again.steps_per_epoch) == (digest, per_epoch)
    return run
