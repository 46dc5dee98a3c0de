"""With which arithmetic a variant can be judged on this machine, and how a report calls it.

An int8 file that is made for CPUs with an instruction set which this one lacks must not run on this
CPU's int8 kernels: they may saturate where the target's do not. ONNX Runtime without graph optimization
leaves quantize and dequantize nodes as they are, and so computes the same file in float arithmetic.
"""

from outrider_bundle.bars import machine
from outrider_bundle.manifest import Scalar
from outrider_converter.exports import Candidate

BEST_FIRST = ("avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp", "asimd")
"""The first of these that a CPU has is what names its kernels."""

IN_FLOAT: dict[str, Scalar] = {"threads": 1, "optimization": "disabled"}
"""Options of the runtime onnx with which an int8 file is computed in float arithmetic."""


def lacking(candidate: Candidate) -> tuple[str, ...]:
    """Return the instruction sets that a variant requires and this CPU has not."""
    have = machine().isa
    return tuple(name for name in candidate.isa if name not in have)


def options(candidate: Candidate) -> dict[str, Scalar]:
    """Return the options of the runtime under which a variant is verified: one thread, right arithmetic."""
    return IN_FLOAT if _in_float(candidate) else {"threads": 1}


def describe(candidate: Candidate) -> str:
    """Return with which kernels a variant is verified here, for people."""
    missing = ", ".join(lacking(candidate))
    if _in_float(candidate):
        return f"float arithmetic of the same file; this CPU lacks {missing}"
    best = next((name for name in BEST_FIRST if name in machine().isa), "")
    kind = "float" if candidate.precision.startswith("float") else "int8"
    native = f"{kind} kernels, {best}" if best else f"{kind} kernels"
    return f"{native}; not the target's, this CPU lacks {missing}" if missing else native


def _in_float(candidate: Candidate) -> bool:
    whole = candidate.precision in {"int8", "mixed"} and candidate.runtime == "onnx"
    return whole and bool(lacking(candidate))
