import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from outrider_bundle import plugins
from outrider_bundle.errors import MissingExtraError, OutriderError


def register(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, text: str) -> None:
    (folder / f"{name}_plugin.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    point = EntryPoint(name, f"{name}_plugin:Plugin", "outrider.sources")
    monkeypatch.setattr(plugins, "find", lambda _group, _name: point)
    monkeypatch.delitem(sys.modules, f"{name}_plugin", raising=False)


@pytest.mark.parametrize(
    ("group", "name", "extra"),
    [
        ("outrider.runtimes", "onnx", "outrider[onnx]"),
        ("outrider.runtimes", "null", "outrider[runtime]"),
        ("outrider.sources", "camera", "outrider[agent]"),
        ("outrider.steps", "prune", "outrider[converter]"),
    ],
)
def test_a_missing_library_names_an_extra_that_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group: str, name: str, extra: str
) -> None:
    register(monkeypatch, tmp_path, name, "import a_library_nobody_has\n")
    with pytest.raises(MissingExtraError) as caught:
        plugins.load(group, name)
    assert "a_library_nobody_has" in str(caught.value)
    assert extra in str(caught.value)


@pytest.mark.parametrize(
    "text", ["import outrider_runtime.nowhere\n", "import broken_plugin.part\n", "Other = 1\n"]
)
def test_a_fault_of_the_plugin_itself_is_not_blamed_on_an_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    register(monkeypatch, tmp_path, "broken", text)
    with pytest.raises(OutriderError, match="does not load") as caught:
        plugins.load("outrider.sources", "broken")
    assert not isinstance(caught.value, MissingExtraError)
