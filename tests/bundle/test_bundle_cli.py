"""`outrider bundle`, run as the dispatcher runs it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outrider_bundle import dispatch
from outrider_bundle.container import Bundle, decode_manifest
from outrider_bundle.writer import write_bundle
from tests.fakes.bundles import BLOBS, LABELS, described_manifest, tiny_manifest, write_tiny


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.orb"
    write_tiny(path)
    return path


class Ran(msgspec.Struct):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.out))


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*argv: object) -> Ran:
        capsys.readouterr()
        code = dispatch.main(["bundle", *map(str, argv)])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


def break_last_byte(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def test_inspect_shows_what_there_is(path: Path, run: Run) -> None:
    ran = run("inspect", path)
    assert (ran.code, ran.err) == (0, "")
    with Bundle.open(path) as bundle:
        assert bundle.digest in ran.out
    for word in ("tiny 1.0.0", "sorting on bench", *LABELS, "null-int8", "null-float32", *BLOBS, "1 steps"):
        assert word in ran.out


def test_inspect_as_json_holds_the_manifest(path: Path, run: Run) -> None:
    data = run("inspect", path, "--json").json
    assert decode_manifest(json.dumps(data["manifest"], sort_keys=True, separators=(",", ":")).encode())
    with Bundle.open(path) as bundle:
        assert data["digest"] == bundle.digest
        assert data["header_bytes"] == len(bundle.header)
    assert data["bytes"] == path.stat().st_size
    assert data["signature"] is False


def test_names_from_a_file_cannot_steer_the_terminal(tmp_path: Path, run: Run) -> None:
    manifest = tiny_manifest()
    output = manifest.outputs[0]
    decoder = msgspec.structs.replace(output.decoder, labels=("\x1b[2J", "[red]x[/red]", "[/nonsense]"))
    manifest = msgspec.structs.replace(manifest, outputs=(msgspec.structs.replace(output, decoder=decoder),))
    write_bundle(tmp_path / "x.orb", manifest, BLOBS)
    ran = run("inspect", tmp_path / "x.orb")
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "[red]x[/red], [/nonsense]" in ran.out


def test_verify_tells_sound_from_damaged(path: Path, run: Run) -> None:
    ran = run("verify", path)
    assert ran.code == 0
    assert "6 sound" in ran.out
    assert "not checked" in ran.out
    data = run("verify", path, "--json").json
    assert data["ok"] is True
    assert data["keyid"] is None
    assert data["blobs"] == 6
    assert data["bytes"] == sum(map(len, BLOBS.values()))
    break_last_byte(path)
    for more in ([], ["--json"]):
        ran = run("verify", path, *more)
        assert (ran.code, ran.out) == (10, "")
        assert "'float-expected' is damaged in its bytes 0 to 23" in ran.err


def test_keygen_sign_and_verify_fit_together(path: Path, tmp_path: Path, run: Run) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    made = run("keygen", mine, "--json").json
    assert made["private"] == str(mine)
    assert made["public"] == f"{mine}.pub"
    assert run("keygen", other).code == 0
    assert run("verify", path, "--key", f"{mine}.pub").code == 11
    signed = run("sign", path, "--key", mine, "--json").json
    assert signed == {"path": str(path), "signature": f"{path}.sig"}
    assert run("inspect", path, "--json").json["signature"] is True
    assert run("verify", path, "--key", f"{mine}.pub", "--json").json["keyid"] == made["keyid"]
    assert made["keyid"] in run("verify", path, "--key", f"{other}.pub", "--key", f"{mine}.pub").out
    ran = run("verify", path, "--key", f"{other}.pub")
    assert (ran.code, ran.out) == (11, "")
    assert "not trusted" in ran.err
    assert "Signature" in run("sign", path, "--key", mine).out.title()


def test_keys_are_kept_and_wrong_ones_refused(path: Path, tmp_path: Path, run: Run) -> None:
    assert run("keygen", tmp_path / "key").code == 0
    before = (tmp_path / "key").read_bytes()
    assert run("keygen", tmp_path / "key").code == 2
    assert (tmp_path / "key").read_bytes() == before
    assert run("sign", path, "--key", tmp_path / "key.pub").code == 2
    assert run("sign", path, "--key", tmp_path / "missing").code == 2
    assert run("verify", path, "--key", tmp_path / "key").code == 2
    break_last_byte(path)
    assert run("sign", path, "--key", tmp_path / "key").code == 10
    assert not path.with_name("tiny.orb.sig").exists()


def test_extract_writes_every_blob_and_the_manifest(path: Path, tmp_path: Path, run: Run) -> None:
    data = run("extract", path, "--to", tmp_path / "out", "--json").json
    assert data == {"path": str(tmp_path / "out"), "files": {name: len(raw) for name, raw in BLOBS.items()}}
    files = {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()}
    manifest = files.pop("manifest.json")
    assert files == BLOBS
    assert msgspec.json.decode(manifest, type=type(described_manifest())) == described_manifest()


def test_extract_of_one_variant(path: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "out").mkdir()
    ran = run("extract", path, "--to", tmp_path / "out", "--variant", "null-int8")
    assert ran.code == 0
    assert {one.name for one in (tmp_path / "out").iterdir()} == {
        "golden",
        "int8-expected",
        "int8-graph",
        "int8-weights",
        "manifest.json",
    }
    ran = run("extract", path, "--to", tmp_path / "other", "--variant", "null-int4")
    assert ran.code == 10
    assert "no variant 'null-int4'. It has: null-int8, null-float32" in ran.err
    assert not (tmp_path / "other").exists()


def test_extract_leaves_all_as_it_was_if_it_cannot(path: Path, tmp_path: Path, run: Run) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "golden").write_text("mine")
    ran = run("extract", path, "--to", full)
    assert ran.code == 2
    assert "is not an empty folder" in ran.err
    assert run("extract", path, "--to", full / "golden").code == 2
    assert run("extract", path, "--to", tmp_path / "a" / "b").code == 1
    break_last_byte(path)
    assert run("extract", path, "--to", tmp_path / "out").code == 10
    assert {one.name for one in tmp_path.iterdir()} == {"full", "tiny.orb"}
    assert (full / "golden").read_text() == "mine"


COMMANDS = ["inspect", "verify", "sign", "keygen", "extract"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, run: Run) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert f"Example: outrider bundle {command} " in ran.out
    assert "--json" in ran.out
    assert command in run("--help").out


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_its_file_is_a_usage_error(command: str, run: Run) -> None:
    ran = run(command)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("outrider: error: Missing ")
    assert ran.err.endswith(f"See: outrider bundle {command} --help\n")


@pytest.mark.parametrize("command", ["inspect", "verify"])
@pytest.mark.parametrize("content", [b"", b"noise", b"\x89ORB\r\n\x1a\n\xff\xff\xff\xff"])
def test_what_is_no_bundle_is_one_line(command: str, content: bytes, tmp_path: Path, run: Run) -> None:
    (tmp_path / "x.orb").write_bytes(content)
    ran = run(command, tmp_path / "x.orb")
    assert (ran.code, ran.out) == (10, "")
    assert len(ran.err.splitlines()) == 1


def test_no_command_shows_help(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert "inspect" in ran.out
