"""A variant is judged with the arithmetic of the CPU it is for, and the report says with which."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outrider_bundle.bars import Machine
from outrider_converter import kernels
from outrider_converter.exports import Candidate

INT8 = Candidate(id="v", runtime="onnx", precision="int8", files={"graph": Path("g")}, inputs=(), outputs=())


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Machine(cpu="Test", isa=("avx2", "avx512f"), cores=1)
    monkeypatch.setattr(kernels, "machine", lambda: here)


@pytest.mark.parametrize(
    ("changes", "text", "disabled"),
    [
        ({}, "int8 kernels, avx512f", False),
        ({"precision": "float32"}, "float kernels, avx512f", False),
        ({"isa": ("avx2",)}, "int8 kernels, avx512f", False),
        ({"isa": ("asimd",)}, "float arithmetic of the same file; this CPU lacks asimd", True),
        (
            {"isa": ("asimd",), "precision": "mixed"},
            "float arithmetic of the same file; this CPU lacks asimd",
            True,
        ),
        (
            {"isa": ("avx512_vnni",), "runtime": "openvino"},
            "int8 kernels, avx512f; not the target's, this CPU lacks avx512_vnni",
            False,
        ),
    ],
)
def test_kernels_are_named_and_chosen(changes: dict[str, Any], text: str, disabled: bool) -> None:  # noqa: FBT001 - a table column
    candidate = replace(INT8, **changes)
    assert kernels.describe(candidate) == text
    assert (kernels.options(candidate).get("optimization") == "disabled") is disabled
    assert kernels.options(candidate)["threads"] == 1


def test_a_cpu_of_which_nothing_is_known_has_int8_kernels_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "machine", lambda: Machine(cpu="unknown", isa=(), cores=1))
    assert kernels.describe(INT8) == "int8 kernels"
