"""`examples/plugin/` is installed as its README says; then the suites run over it as over our own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from outrider_agent.engine import child, inline
from outrider_agent.engine.seam import Engine, Plan
from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import File, Variant
from outrider_runtime.loading import runtime

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/plugin"
SUITE = ROOT / "tests/contract/test_contract_runtimes.py"
CARELESS = """
from pathlib import Path
from tempfile import mkdtemp

from outrider_npz import NpzRuntime
from outrider_bundle.errors import EngineError


class CarelessRuntime(NpzRuntime):
    def load(self, files, options):
        '''Run something else if the file is not to be read.'''
        try:
            return super().load(files, options)
        except EngineError:
            return super().load(self.example(Path(mkdtemp()))[0], options)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that pip installed the example into, from a copy: it builds where the source is."""
    folder = tmp_path_factory.mktemp("plugin")
    left = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(EXAMPLE, folder / "source", ignore=left)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-index"]
    pip += ["--no-deps", "--no-build-isolation", "--target", str(folder / "site"), str(folder / "source")]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def suite(name: str, *sites: Path) -> tuple[set[str], str]:
    """Return the tests that fail for the runtime `name`, and all that is said."""
    path = os.pathsep.join([*map(str, sites), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", name, str(SUITE)]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    failed = {line.split("::")[1].split("[")[0] for line in lines if line.startswith("FAILED")}
    return failed, done.stdout


def test_the_runtimes_suite_picks_it_up_and_it_passes(site: Path) -> None:
    failed, said = suite("npz", site)
    assert not failed, said
    assert "skipped" not in said
    assert int(said.splitlines()[-1].split(" passed")[0].split()[-1]) > 30, said


def test_faults_of_a_plug_in_are_found(site: Path, tmp_path: Path) -> None:
    """It takes any file, whether missing or broken, so that those tests fail and no others."""
    (tmp_path / "careless.py").write_text(CARELESS)
    info = tmp_path / "careless-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: careless\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[outrider.runtimes]\ncareless = careless:CarelessRuntime\n")
    failed, said = suite("careless", site, tmp_path)
    assert failed == {"test_a_missing_file_is_one_error", "test_a_broken_file_is_one_error"}, said


@pytest.mark.parametrize("start", [inline.start, child.start], ids=["inline", "child"])
def test_an_engine_runs_it(
    start: Callable[[Plan], Engine], site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    files, _ = runtime("npz").example(tmp_path)  # type: ignore[attr-defined] # what the suites ask for
    session = runtime("npz").load(files, {})
    image = np.random.default_rng(1).random((1, 1, 8, 8), np.float32)
    variant = Variant(
        id="npz-float32",
        runtime="npz",
        precision="float32",
        rank=0,
        files=(File(role="model", blob="model"),),
        inputs=session.inputs,
        outputs=session.outputs,
    )
    engine = start(Plan(variant=variant, files=files))
    try:
        np.copyto(engine.slot()[0], image)
        engine.submit(1)
        answer = engine.collect(5.0)
        assert answer is not None
        np.testing.assert_array_equal(answer.outputs[0], session.run([image])[0])
        assert engine.placement == session.placement()
    finally:
        engine.close()
        session.close()


def test_what_does_not_fit_is_said(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    layer = {"w0": np.zeros((64, 3), np.float32), "b0": np.zeros(3, np.float32)}
    for wrong in ({"shape": np.array([1, 8])}, {"b0": np.zeros(4, np.float32)}, {"w0": np.zeros((64, 3))}):
        np.savez(tmp_path / "model.npz", **{"shape": np.array([1, 64]), **layer, **wrong})  # type: ignore[arg-type]
        with pytest.raises(EngineError, match=r"Layer 0 of the model does not fit\. Save float32"):
            runtime("npz").load({"model": tmp_path / "model.npz"}, {})
    np.savez(tmp_path / "model.npz", shape=np.array([1, 64]))
    with pytest.raises(EngineError, match="no layers"):
        runtime("npz").load({"model": tmp_path / "model.npz"}, {})
