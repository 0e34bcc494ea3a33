"""What the control plane keeps of a training specification."""

import subprocess
import sys

import pytest

from services.common.errors import InvalidError
from services.train_svc.service.specs import check_spec, flatten


def test_leaves_become_parameters_under_dotted_names() -> None:
    spec = {"model": "resnet_small", "optimizer": {"lr": 0.003, "name": "adamw"}, "epochs": 3, "note": "x" * 1000}
    assert dict(flatten(spec)) == {
        "model": "resnet_small", "optimizer.lr": "0.003", "optimizer.name": "adamw", "epochs": "3",
    }  # fmt: skip


def test_a_run_is_named_after_its_model_and_keeps_engine_and_seed() -> None:
    checked = check_spec({"model": "resnet_small", "model_name": "digits", "seed": 5})
    assert (checked.title, checked.engine, checked.seed) == ("digits", "torch", 5)
    assert check_spec({"model": {"template": "resnet_small"}}).title == "resnet_small"


def test_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InvalidError, match="epochs"):
        check_spec({"model": "resnet_small", "epoch": 3})


def test_the_server_and_the_check_of_a_specification_load_no_torch() -> None:
    program = (
        "import sys, services.train_svc.__main__\n"
        "from services.train_svc.service.specs import check_spec\n"
        "check_spec({'model': 'resnet_small'})\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
