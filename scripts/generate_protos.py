"""Generate `proto/gen` from `proto/`: messages, services and type stubs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "proto"
TARGET = SOURCE / "gen"


def main() -> None:
    """Replace the generated tree."""
    shutil.rmtree(TARGET, ignore_errors=True)
    generate(TARGET)


def generate(target: Path) -> None:
    """Write the generated tree to `target`, which is made."""
    target.mkdir(parents=True)
    compile_protos(sorted(str(p.relative_to(SOURCE)) for p in proto_files()), target)
    for path in [*target.rglob("*.py"), *target.rglob("*.pyi")]:
        path.write_text(absolute_imports(path.read_text()))
    for folder in [target, *(p for p in target.rglob("*") if p.is_dir())]:
        (folder / "__init__.py").write_text("")


def proto_files() -> list[Path]:
    """Return every contract, the Open Inference Protocol's included."""
    return [p for p in SOURCE.rglob("*.proto") if TARGET not in p.parents]


def compile_protos(names: list[str], target: Path) -> None:
    """Run protoc with the Python plugins of this environment."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCE}"]
    command += [f"--python_out={target}", f"--grpc_python_out={target}"]
    command += [f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet:{target}"]
    plugins = [f"--plugin={Path(sys.executable).parent / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    subprocess.run([*command, *plugins, *names], check=True)


def absolute_imports(text: str) -> str:
    """Name generated modules by their place in this repository.

    protoc writes `modelwright.…`, which is the name of our SDK package.
    """
    text = re.sub(r"^(from|import) (modelwright|inference)(?=[. ])", r"\1 proto.gen.\2", text, flags=re.M)
    return re.sub(r"(?<![\w.])(modelwright|inference)\.([\w.]+_pb2)\b", r"proto.gen.\1.\2", text)


if __name__ == "__main__":
    main()
