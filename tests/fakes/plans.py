"""Engine plans for tiny models."""

from collections.abc import Mapping
from pathlib import Path

from outrider_agent.engine.seam import Plan
from outrider_bundle.manifest import File, Scalar, Variant
from outrider_runtime.loading import runtime


def plan(name: str, files: Mapping[str, Path], given: Mapping[str, Scalar], /, **more: object) -> Plan:
    """Return a plan for a model, whose tensors are asked of the model itself; `more` are fields of it."""
    session = runtime(name).load(files, given)
    variant = Variant(
        id=f"tiny-{name}",
        runtime=name,
        precision="float32",
        rank=0,
        files=tuple(File(role=role, blob=path.stem) for role, path in files.items()),
        inputs=session.inputs,
        outputs=session.outputs,
        options=dict(given),
    )
    session.close()
    return Plan(variant=variant, files=files, **more)  # type: ignore[arg-type]


def faulty(folder: Path, name: str = "faulty", given: Mapping[str, Scalar] = {}, **more: object) -> Plan:
    """Return a plan for the runtime of `faulty_runtime`, which is told by `folder / "trigger"`; see there."""
    folder.mkdir(exist_ok=True)
    (folder / "model").write_bytes(b"any")
    own: dict[str, Scalar] = {"trigger": str(folder / "trigger"), "output": "1,3"}
    made = plan(name, {"model": folder / "model"}, {**own, **given}, **more)
    (folder / "trigger").unlink(missing_ok=True)
    return made
