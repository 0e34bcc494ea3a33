import subprocess
import sys

MODULES = "augment.draws, loading.augmented, loading.arrays, loading.folder, loading.iterables, loading.pictures"
CHECK = """
import importlib, sys
for name in {names}:
    importlib.import_module("services.train_svc.engine." + name)
sys.exit("torch" in sys.modules or "tensorflow" in sys.modules)
"""


def test_drawing_and_loading_load_no_engine() -> None:
    names = [*MODULES.split(", "), "augment", "loading.prefetch"]
    subprocess.run([sys.executable, "-c", CHECK.format(names=names)], check=True, timeout=60)
