"""What may run: signature, device, rank and proof, each with a real bundle."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider_agent.admission import Admitted, admit
from outrider_agent.config import Device, Engine, Trust
from outrider_agent.engine.crew import Crew
from outrider_agent.engine.keeper import Keeper
from outrider_agent.summary import Skipped
from outrider_bundle import signing
from outrider_bundle.errors import BundleError, IncompatibleError, ProofError, SignatureError
from outrider_bundle.manifest import Output, RawDecoder, Requirements, Variant
from tests.fakes import null_bundle

UNSIGNED = Trust(allow_unsigned=True)
INLINE = Engine(isolation="inline")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sorter.orb"


def device(path: Path, app: str = "sorting", hardware: str = "bench") -> Device:
    return Device(id="line-1", fleet="plant", app=app, hardware=hardware, state_dir=path.parent / "state")


@dataclass
class LetIn:
    variant: Variant
    digest: str
    skipped: tuple[Skipped, ...]
    labels: list[str]


def let_in(path: Path, trust: Trust = UNSIGNED, engine: Engine = INLINE) -> LetIn:
    """Admit, load and prove as the agent does at its start."""
    return load(admit(path, device(path), trust, engine), engine, path.parent / "state")


def load(admitted: Admitted, engine: Engine, state_dir: Path, steps: list[str] | None = None) -> LetIn:
    keeper = Keeper("belt", Crew(admitted, engine), engine, state_dir)
    keeper.open((steps if steps is not None else []).append)
    mounted = keeper.seat.mounted
    assert mounted is not None
    labels = [mounted.ports.decode(mounted.outputs(image)).labels[0] for image in null_bundle.SAMPLES]
    keeper.stop()
    return LetIn(mounted.variant, admitted.slot.digest, keeper.crew.skipped, labels)


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    signing.generate(private, public)
    return private, public


def test_the_best_variant_that_proves_itself_is_taken(path: Path) -> None:
    digest = null_bundle.write(path)
    steps: list[str] = []
    admitted = admit(path, device(path), UNSIGNED, INLINE, steps.append)
    loaded = load(admitted, INLINE, path.parent / "state", steps)
    assert (loaded.variant.id, loaded.digest, loaded.skipped) == ("null-a", digest, ())
    assert steps == ["reading sorter.orb", "proving null-a"]
    assert loaded.labels == [null_bundle.label_of(image) for image in null_bundle.SAMPLES]


def test_one_that_does_not_reproduce_is_skipped_for_the_next(path: Path) -> None:
    null_bundle.write(path, wrong=["null-a"])
    admitted = let_in(path)
    assert admitted.variant.id == "null-b"
    (skipped,) = admitted.skipped
    assert skipped.variant == "null-a"
    assert "differs by" in skipped.reason


def test_if_none_reproduces_the_error_says_why_for_each(path: Path) -> None:
    null_bundle.write(path, wrong=["null-a", "null-b"])
    with pytest.raises(ProofError, match=r"null-a: differs by .*; null-b: differs by") as caught:
        let_in(path)
    assert caught.value.exit_code == 21


def test_what_cannot_run_here_is_skipped_with_its_reason_and_not_unpacked(path: Path) -> None:
    huge = Requirements(memory_mb=1 << 20)
    variants = [
        null_bundle.variant("moon", 0, runtime="lunar"),
        replace(null_bundle.variant("rtl", 1), status="rtl-only"),
        replace(null_bundle.variant("huge", 2), requirements=huge),
        null_bundle.variant("null-a", 3),
    ]
    null_bundle.write(path, variants)
    admitted = let_in(path)
    assert admitted.variant.id == "null-a"
    reasons = {one.variant: one.reason for one in admitted.skipped}
    assert list(reasons) == ["moon", "rtl", "huge"]
    assert reasons["moon"].startswith("there is no runtime 'lunar' here; installed: null")
    assert reasons["rtl"] == "its status is rtl-only"
    assert "of memory" in reasons["huge"]
    slot = path.parent / "state" / "slots" / admitted.digest
    assert {file.name for file in slot.iterdir()} == {"header.orb", "golden", "model", "expected-null-a"}


def test_a_model_that_does_not_load_is_skipped(path: Path) -> None:
    null_bundle.write(path)
    admitted = let_in(path, engine=Engine(threads=1, isolation="inline"))
    assert admitted.skipped == ()
    broken = Engine(isolation="inline", options={"null": {"output": "1,7"}})
    with pytest.raises(ProofError, match=r"null-a: .*output"):
        let_in(path, engine=broken)


def test_a_wanted_variant_is_the_only_one_tried(path: Path) -> None:
    null_bundle.write(path, wrong=["null-a"])
    admitted = let_in(path, engine=Engine(isolation="inline", variant="null-b"))
    assert (admitted.variant.id, admitted.skipped) == ("null-b", ())
    with pytest.raises(ProofError):
        let_in(path, engine=Engine(isolation="inline", variant="null-a"))
    with pytest.raises(IncompatibleError, match=r"has no variant 'null-z'\. It has: null-a, null-b"):
        let_in(path, engine=Engine(isolation="inline", variant="null-z"))


def test_a_signature_by_a_trusted_key_lets_in(path: Path, tmp_path: Path) -> None:
    null_bundle.write(path)
    (private, public), (_, other) = keys(tmp_path, "operator"), keys(tmp_path, "other")
    with pytest.raises(SignatureError, match="not signed"):
        let_in(path, Trust(keys=(public,)))
    signing.sign(path, private)
    assert let_in(path, Trust(keys=(other, public))).variant.id == "null-a"
    with pytest.raises(SignatureError, match="not trusted") as caught:
        let_in(path, Trust(keys=(other,)))
    assert caught.value.exit_code == 11


def test_a_bad_signature_is_refused_even_where_none_would_be_needed(path: Path, tmp_path: Path) -> None:
    null_bundle.write(path)
    (private, _), (_, other) = keys(tmp_path, "operator"), keys(tmp_path, "other")
    assert let_in(path, Trust(keys=(other,), allow_unsigned=True)).variant.id == "null-a"
    signing.sign(path, private)
    with pytest.raises(SignatureError):
        let_in(path, Trust(keys=(other,), allow_unsigned=True))


@pytest.mark.parametrize(
    ("app", "hardware", "said"),
    [
        ("pressing", "bench", "for the app 'sorting'"),
        ("sorting", "moon", "is for bench, this device is 'moon'"),
    ],
)
def test_a_bundle_for_another_device_is_refused_before_anything_is_written(
    path: Path, app: str, hardware: str, said: str
) -> None:
    null_bundle.write(path)
    with pytest.raises(IncompatibleError, match=said) as caught:
        admit(path, device(path, app, hardware), UNSIGNED, Engine())
    assert caught.value.exit_code == 12
    assert not (path.parent / "state").exists()


def test_raw_outputs_are_refused_before_anything_is_written(path: Path) -> None:
    raw = Output(name="numbers", shape=(1, 3), decoder=RawDecoder())
    null_bundle.write(path, task="raw", outputs=(raw,))
    with pytest.raises(
        IncompatibleError, match=r"no decoder.*can act on these tasks: classification, regression, detection"
    ) as caught:
        let_in(path)
    assert caught.value.exit_code == 12
    assert not (path.parent / "state").exists()


def test_a_bundle_for_any_hardware_runs_on_any(path: Path) -> None:
    null_bundle.write(path, hardware=("any",))
    assert admit(path, device(path, hardware="moon"), UNSIGNED, Engine()).variants[0].id == "null-a"


def test_a_broken_or_missing_bundle_is_refused(path: Path) -> None:
    with pytest.raises(BundleError):
        let_in(path)
    path.write_bytes(b"no bundle")
    with pytest.raises(BundleError) as caught:
        let_in(path)
    assert caught.value.exit_code == 10


def test_a_damaged_blob_is_found_before_it_is_loaded(path: Path) -> None:
    null_bundle.write(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"nothing to see here")
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="damaged"):
        let_in(path)


def test_a_slot_that_is_there_is_used_again_and_mended(path: Path) -> None:
    null_bundle.write(path)
    first = let_in(path)
    model = path.parent / "state" / "slots" / first.digest / "model"
    model.write_bytes(b"damaged")
    assert let_in(path).variant.id == "null-a"
    assert model.read_bytes() == b"nothing to see here"
