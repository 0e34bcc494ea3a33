import subprocess
import sys

import pytest

CHECK = "import sys, {name}; {use}; sys.exit('torch' in sys.modules or 'tensorflow' in sys.modules)"


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("modelwright.train", "modelwright.train.describe('resnet_small')"),
        ("services.train_svc.engine.spec", "services.train_svc.engine.spec.TrainSpec.from_mapping({'epochs': 1})"),
        ("services.train_svc.tasks", "services.train_svc.tasks.PRELOAD"),
    ],
)
def test_describing_and_checking_load_no_torch(name: str, use: str) -> None:
    subprocess.run([sys.executable, "-c", CHECK.format(name=name, use=use)], check=True, timeout=60)


def test_every_public_name_is_there() -> None:
    import modelwright.train as public

    assert all(getattr(public, name) is not None for name in public.__all__)
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        _ = public.biuld


def test_every_preloaded_module_exists() -> None:
    import importlib.util

    from services.train_svc.tasks import KINDS, PRELOAD

    names = [*PRELOAD, *(target.split(":")[0] for target in KINDS.values())]
    assert [name for name in names if importlib.util.find_spec(name) is None] == []
