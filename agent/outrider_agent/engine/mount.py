"""A variant on its engine: loaded where it should run, and proven there before its first frame."""

import contextlib
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

from outrider_agent.admission import Admitted
from outrider_agent.config import Engine as Table
from outrider_agent.engine import child, inline
from outrider_agent.engine.seam import Engine, Plan
from outrider_bundle.errors import EngineError, ProofError
from outrider_bundle.manifest import Scalar, Variant
from outrider_runtime.pipeline import Ports
from outrider_runtime.proof import Proof, expected_for, golden_samples, prove
from outrider_runtime.session import Array

INLINE_S = 0.0005
"""Below it a child's 20 to 100 us a frame are no longer small against the model's own time."""

CACHE = "cache"
CACHED = ("onnx", "openvino")
"""Runtimes that keep what they compile in the folder of the option `cache`."""
OWN = ("cpu", "null")
"""Devices whose runs cannot hang on a driver."""

log = logging.getLogger(__name__)


class Mounted:
    """A proven variant that takes frames.

    Args:
        admitted: the bundle it is of.
        variant: the one that is loaded.
        engine: where it runs; closed with this.
        isolation: `child` or `inline`.
    """

    def __init__(self, admitted: Admitted, variant: Variant, engine: Engine, isolation: str) -> None:
        """Build what stands before and behind the engine.

        Raises:
            EngineError: tensors and preprocessing contradict one another.
        """
        self.admitted, self.variant, self.engine, self.isolation = admitted, variant, engine, isolation
        self.ports = Ports(admitted.manifest, variant)
        self.times_s: list[float] = []
        self._patience_s = 0.0

    def outputs(self, frame: Array) -> Sequence[Array]:
        """Return the raw outputs for `frame`, by the way that frames of the loop take.

        Raises:
            EngineError: it does not fit, or the engine failed or did not answer.
        """
        self.ports.write(frame, self.engine.slot())
        begun_s = monotonic()
        self.engine.submit(0)
        answer = self.engine.collect(self._patience_s)
        if answer is None:
            raise EngineError(f"There is no answer to a golden vector within {self._patience_s:g} s")
        self.times_s.append(monotonic() - begun_s)
        return answer.outputs

    def prove(self, patience_s: float) -> Proof:
        """Run the golden vectors; each may take `patience_s`, the first of a driver takes long.

        Raises:
            ProofError: the variant does not reproduce.
            EngineError: it did not answer; a variant that computes right may fail so, and work later.
            BundleError: there is nothing to compare with.
        """
        self._patience_s = patience_s
        manifest, slot = self.admitted.manifest, self.admitted.slot
        samples = golden_samples(manifest.golden, slot.read(manifest.golden.blob))
        answers = slot.read(expected_for(manifest.golden, self.variant.id).blob)
        proof = prove(manifest, self.variant, self, samples, answers)
        if not proof.samples:
            raise EngineError(proof.reason)
        if not proof.ok:
            raise ProofError(proof.reason)
        log.info(
            "%s reproduces %d golden vectors (%.3g %s)",
            self.variant.id,
            proof.samples,
            proof.worst,
            proof.unit,
        )
        return proof

    @property
    def fast(self) -> bool:
        """Whether a process of its own would cost more than it is worth."""
        placement = self.engine.placement
        return placement.device in OWN and statistics.median(self.times_s) < INLINE_S

    def close(self) -> None:
        """End the engine; idempotent."""
        self.engine.close()


def mount(
    admitted: Admitted, variant: Variant, table: Table, state_dir: Path, *, alone: bool, polite: bool
) -> Mounted:
    """Load and prove `variant`.

    Args:
        admitted: the bundle.
        variant: one of its variants.
        table: how the model is run.
        state_dir: of the device; runtimes may cache there.
        alone: nothing else holds the device now.
        polite: another model is at work beside.

    Raises:
        SharedError: the runtime is exclusive, and not `alone`.
        EngineError: it cannot be loaded, not where it must run, or does not reproduce.
        MissingExtraError: the runtime's library is not installed.
    """
    plan = Plan(
        variant=variant,
        files=admitted.slot.files(variant.id),
        options=options(variant, table, state_dir),
        policy=table.placement,
        share=table.share,
        alone=alone,
        polite=polite,
        load_s=table.load_s,
        hang_s=table.hang_ms / 1000.0,
        python=str(table.python or ""),
        user=table.user or "",
    )
    if table.isolation == "inline":
        return _proven(admitted, plan, "inline")
    mounted = _proven(admitted, plan, "child")
    if table.isolation == "child" or table.python or table.user or not mounted.fast:
        return mounted
    mounted.close()
    return _proven(admitted, plan, "inline")


def options(variant: Variant, table: Table, state_dir: Path) -> Mapping[str, Scalar]:
    """Return what the configuration asks of the runtime of `variant`."""
    given: dict[str, Scalar] = {} if table.threads is None else {"threads": table.threads}
    if variant.runtime in CACHED:
        given["cache"] = str((state_dir / CACHE / variant.runtime).absolute())
    return {**given, **table.options.get(variant.runtime, {})}


def _proven(admitted: Admitted, plan: Plan, isolation: str) -> Mounted:
    engine: Engine = child.start(plan) if isolation == "child" else inline.start(plan)
    with contextlib.ExitStack() as unproven:
        unproven.callback(engine.close)
        mounted = Mounted(admitted, plan.variant, engine, isolation)
        mounted.prove(plan.load_s)
        unproven.pop_all()
    return mounted
