import subprocess
import sys

import modelwright.data


def test_every_public_name_is_there() -> None:
    for name in modelwright.data.__all__:
        assert getattr(modelwright.data, name).__name__ == name


def test_importing_loads_no_engine() -> None:
    code = "import sys, modelwright.data; print('pyarrow' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_service_starts_without_arrow_and_pillow() -> None:
    code = "import sys, services.data_svc.__main__; print([m for m in ('pyarrow', 'PIL', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
