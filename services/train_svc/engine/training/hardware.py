"""What graphics cards can do at most, for the share of it that a run reaches.

That share is the MFU, model FLOPs utilization (Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B).

Dense peaks in TFLOP/s from NVIDIA's datasheets; where a sheet gives figures with 2:4 sparsity, half of them. Tensor
cores throughout, but for fp32; sums in FP32, which is what training uses.

- H100: H100 Tensor Core GPU architecture whitepaper (SXM5, PCIe) and datasheet (NVL); H200: datasheet (SXM, NVL)
- A100: datasheet of the A100 80GB; A10: of the A10; V100: of the V100 (SXM2, PCIe, V100S); T4: of the T4
- L40S, L4: datasheets of the L40S and L4
- RTX 4090: Ada GPU architecture whitepaper, appendix A; RTX 3090: GA102 architecture whitepaper, appendix A
"""

import re
from collections.abc import Mapping

TERA = 1e12

_HOPPER_SXM = {"fp32": 66.9, "tf32": 494.7, "fp16": 989.4, "bf16": 989.4, "fp8": 1978.9}
_HOPPER_NVL = {"fp32": 60.0, "tf32": 417.5, "fp16": 835.5, "bf16": 835.5, "fp8": 1670.5}

_PEAKS: tuple[tuple[str, Mapping[str, float]], ...] = (
    (r"H100 80GB HBM3|H100 SXM.*", _HOPPER_SXM),
    (r"H100 PCIe", {"fp32": 51.2, "tf32": 378.0, "fp16": 756.5, "bf16": 756.5, "fp8": 1513.0}),
    (r"H[12]00 NVL", _HOPPER_NVL),
    (r"H200( SXM.*)?", _HOPPER_SXM),
    (r"A100-(SXM4|PCIE)-.*|A100 80GB PCIe", {"fp32": 19.5, "tf32": 156.0, "fp16": 312.0, "bf16": 312.0}),
    (r"L40S", {"fp32": 91.6, "tf32": 183.0, "fp16": 362.0, "bf16": 362.0, "fp8": 733.0}),
    (r"L4", {"fp32": 30.3, "tf32": 60.0, "fp16": 121.0, "bf16": 121.0, "fp8": 242.5}),
    (r"A10", {"fp32": 31.2, "tf32": 62.5, "fp16": 125.0, "bf16": 125.0}),
    (r"V100-SXM.*", {"fp32": 15.7, "fp16": 125.0}),
    (r"V100-PCIE.*", {"fp32": 14.0, "fp16": 112.0}),
    (r"V100S-PCIE.*", {"fp32": 16.4, "fp16": 130.0}),
    (r"T4", {"fp32": 8.1, "fp16": 65.0}),
    (r"RTX 4090", {"fp32": 82.6, "tf32": 82.6, "fp16": 165.2, "bf16": 165.2, "fp8": 330.3}),
    (r"RTX 3090", {"fp32": 35.6, "tf32": 35.6, "fp16": 71.0, "bf16": 71.0}),
)
"""By what stands behind the maker's words in the driver's name of a card; the whole of it must fit, since an A10G is no
A10, a laptop's 4090 none of a desktop, and a slice of a card (MIG) no card."""


def peak_flops(device: str, precision: str) -> float | None:
    """Return the most floating point operations a second, dense; None: card or format unknown.

    Args:
        device: name as the driver gives it, such as `NVIDIA H100 80GB HBM3`.
        precision: fp32, tf32, fp16, bf16 or fp8.
    """
    card = re.sub(r"^((NVIDIA|Tesla|GeForce)\s+)+", "", device.strip())
    for pattern, peaks in _PEAKS:
        if re.fullmatch(pattern, card) and " MIG " not in f"{card} ":
            return peaks[precision] * TERA if precision in peaks else None
    return None
