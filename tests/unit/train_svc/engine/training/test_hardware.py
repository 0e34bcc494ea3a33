import pytest

from services.train_svc.engine.training.hardware import peak_flops


@pytest.mark.parametrize(
    ("device", "precision", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H200", "fp8", 1978.9),
        ("NVIDIA H100 PCIe", "fp16", 756.5),
        ("NVIDIA H100 NVL", "bf16", 835.5),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156),
        ("NVIDIA A100 80GB PCIe", "bf16", 312),
        ("NVIDIA A100-PCIE-40GB", "fp32", 19.5),
        ("NVIDIA L40S", "bf16", 362),
        ("NVIDIA L4", "fp16", 121),
        ("NVIDIA A10", "bf16", 125),
        ("Tesla V100-SXM2-16GB", "fp16", 125),
        ("Tesla T4", "fp16", 65),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2),
        ("NVIDIA GeForce RTX 3090", "fp32", 35.6),
    ],
)
def test_the_peak_is_the_dense_one_of_the_datasheet(device: str, precision: str, tera: float) -> None:
    assert peak_flops(device, precision) == pytest.approx(tera * 1e12)


@pytest.mark.parametrize(
    "device",
    ["cpu", "", "NVIDIA A10G", "NVIDIA L40", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D",
     "NVIDIA GeForce RTX 3090 Ti", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
     "NVIDIA T400"],
)  # fmt: skip
def test_a_card_that_only_resembles_a_known_one_is_unknown(device: str) -> None:
    assert peak_flops(device, "fp16") is None


@pytest.mark.parametrize(("device", "precision"), [("NVIDIA A100-SXM4-80GB", "fp8"), ("Tesla T4", "bf16")])
def test_a_format_that_a_card_lacks_has_no_peak(device: str, precision: str) -> None:
    assert peak_flops(device, precision) is None
