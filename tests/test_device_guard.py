"""Nothing a device installs or imports reaches a training library: three independent proofs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAINING = {
    "ai-edge-quantizer",
    "jax",
    "jaxlib",
    "keras",
    "litert-torch",
    "nncf",
    "onnx",
    "onnxscript",
    "optuna",
    "tensorflow",
    "torch",
    "torch-pruning",
    "transformers",
    "triton",
}

IMPORT_ALL = """
import importlib, pkgutil, sys

FORBIDDEN = {name.replace("-", "_") for name in sys.argv[1].split(",")}
FORBIDDEN |= {"outrider_converter", "outrider_fleet"}

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise SystemExit(f"{name} was imported")
        return None

sys.meta_path.insert(0, Guard())
count = 0
for package in ("outrider_bundle", "outrider_runtime", "outrider_agent"):
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, package + "."):
        importlib.import_module(found.name)
        count += 1
print(count)
"""

START = """
import sys
from outrider_bundle import dispatch
sys.argv = ["outrider", "agent", "run", "--config", "/nonexistent.toml"]
try:
    code = dispatch.main()
except SystemExit as end:
    code = end.code
print(code, sorted({"typer", "rich", "tuf", "click"} & set(sys.modules)))
"""


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "No training library on the device KEPT" in done.stdout


@pytest.mark.timeout(300)
def test_resolver_brings_no_training_library(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
    command += [
        "--report",
        str(report),
        "-c",
        str(ROOT / "requirements/constraints.txt"),
        f"{ROOT}[agent,onnx]",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resolved = {item["metadata"]["name"].lower() for item in json.loads(report.read_text())["install"]}
    assert {"outrider", "onnxruntime", "paho-mqtt", "numpy"} <= resolved
    assert not resolved & TRAINING


def test_every_device_module_imports_without_them() -> None:
    command = [sys.executable, "-c", IMPORT_ALL, ",".join(sorted(TRAINING))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_the_daemon_starts_without_the_command_line_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=False)
    assert done.stdout.split(maxsplit=1) == ["2", "[]\n"], done.stdout + done.stderr
