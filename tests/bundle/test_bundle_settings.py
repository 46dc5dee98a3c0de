"""Settings: all faults at once, each where it is."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.manifest import Identifier, Scalar, Shape
from outrider_bundle.settings import convert, read


class Images(Struct, frozen=True, kw_only=True, tag="images", tag_field="kind"):
    path: Path
    fps: Annotated[float, Meta(gt=0)]
    loop: bool = False


class Camera(Struct, frozen=True, kw_only=True, tag="camera", tag_field="kind"):
    device: int | str


class Rule(Struct, frozen=True, kw_only=True):
    label: str
    frames: Annotated[int, Meta(ge=1, le=100)] = 1

    def __post_init__(self) -> None:
        if self.label == "any":
            raise ValueError("a rule for any label is none")


class Line(Struct, frozen=True, kw_only=True):
    id: Identifier
    source: Images | Camera
    mode: Literal["inline", "child"] = "inline"
    rules: Annotated[tuple[Rule, ...], Meta(max_length=2)] = ()
    options: dict[Identifier, Scalar] = {}
    limits: dict[str, Rule] = {}
    spare: Rule | None = None
    shape: Shape = (1,)
    pair: tuple[int, float] | None = None
    raw: dict[str, Any] = {}


class Config(Struct, frozen=True, kw_only=True):
    device: str
    lines: Annotated[list[Line], Meta(min_length=1)]
    start: float = 0.0


GOOD = """
device = "cam"
[[lines]]
id = "line"
source = {kind = "images", path = "frames", fps = 20}
rules = [{label = "bag"}]
options = {threads = 1, fast = true}
limits = {a = {label = "x", frames = 3}}
spare = {label = "s"}
pair = [1, 2]
raw = {anything = {goes = [1, "a"]}}
"""


def faults(text: str, tmp_path: Path) -> list[str]:
    """Read `text` as a Config, expect its refusal and return the faults."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read(path, Config, UsageError)
    lines = str(caught.value).split("\n  ")
    if len(lines) == 1:
        return [lines[0].removeprefix(f"{path}: ")]
    assert lines[0] == f"{path} has {len(lines) - 1} faults:"
    return lines[1:]


def test_good_settings_become_a_struct(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(GOOD)
    line = Line(
        id="line",
        source=Images(path=Path("frames"), fps=20.0),
        rules=(Rule(label="bag"),),
        options={"threads": 1, "fast": True},
        limits={"a": Rule(label="x", frames=3)},
        spare=Rule(label="s"),
        pair=(1, 2.0),
        raw={"anything": {"goes": [1, "a"]}},
    )
    assert read(path, Config, UsageError) == Config(device="cam", lines=[line])


LINE = 'device = "cam"\n[[lines]]\nid = "line"\n'
SOURCE = 'source = {kind = "images", path = "p", fps = 1}\n'

ONE_FAULT: dict[str, tuple[str, str]] = {
    "missing": ("[[lines]]\nid='a'\n" + SOURCE, "device: is missing"),
    "wrong type": ("device = 3\n" + GOOD.split("\n", 2)[2], "device: expected str, got int"),
    "neighbour": ('devise = "x"\n' + GOOD, "devise: unknown key; did you mean 'device'?"),
    "unknown": ("zz = 1\n" + GOOD, "zz: unknown key; known: device, lines, start"),
    "misspelt instead": (GOOD.replace("device", "devise"), "devise: unknown key; did you mean 'device'?"),
    "odd key": ('"a b" = 1\n' + GOOD, '"a b": unknown key; known: device, lines, start'),
    "table for list": ('device = "x"\nlines = {}', "lines: expected list, got table"),
    "empty list": ('device = "x"\nlines = []', "lines: expected list of length >= 1, got []"),
    "not a table": ('device = "x"\nlines = [3]', "lines[0]: expected a table, got int"),
    "no tag": (
        LINE + 'source = {path = "p", fps = 1}',
        "lines[0].source: needs a 'kind'; known: camera, images",
    ),
    "tag": (
        LINE + 'source = {kind = "image"}',
        "lines[0].source: there is no kind 'image'; did you mean 'images'?",
    ),
    "tagged field": (
        LINE + 'source = {kind = "images", path = "p", fps = "fast"}',
        "lines[0].source.fps: expected float, got str",
    ),
    "bound": (
        LINE + 'source = {kind = "images", path = "p", fps = 0}',
        "lines[0].source.fps: expected float > 0.0, got 0",
    ),
    "nan": (
        LINE + 'source = {kind = "images", path = "p", fps = nan}',
        "lines[0].source.fps: expected a finite number, got nan",
    ),
    "infinite": ("start = -inf\n" + GOOD, "start: expected a finite number, got -inf"),
    "path": (
        LINE + 'source = {kind = "images", path = 3, fps = 1}',
        "lines[0].source.path: expected Path, got int",
    ),
    "union": (
        LINE + 'source = {kind = "camera", device = true}',
        "lines[0].source.device: expected int | str, got bool",
    ),
    "literal": (LINE + SOURCE + 'mode = "kid"', "lines[0].mode: 'kid' is none of these: inline, child"),
    "id": (
        'device = "x"\n[[lines]]\nid = "a b"\n' + SOURCE,
        "lines[0].id: expected 1 to 64 letters, digits, '_' and '-', got 'a b'",
    ),
    "in a list": (
        LINE + SOURCE + 'rules = [{label = "a"}, {label = "b", frames = 101}]',
        "lines[0].rules[1].frames: expected int <= 100, got 101",
    ),
    "too many": (
        LINE + SOURCE + "rules = [{label='a'}, {label='b'}, {label='c'}]",
        "lines[0].rules: expected list of length <= 2, got [{'label': 'a'}, {'label': 'b'}, {'label': 'c'}]",
    ),
    "key of a table": (
        LINE + SOURCE + 'options = {"a b" = 1}',
        "lines[0].options.\"a b\": expected 1 to 64 letters, digits, '_' and '-', got 'a b'",
    ),
    "value of a table": (
        LINE + SOURCE + "options = {a = [1]}",
        "lines[0].options.a: expected bool | int | float | str, got list",
    ),
    "struct in a table": (LINE + SOURCE + "limits = {a = {}}", "lines[0].limits.a.label: is missing"),
    "optional": (
        LINE + SOURCE + "spare = {lable = 'x'}",
        "lines[0].spare.lable: unknown key; did you mean 'label'?",
    ),
    "optional scalar": (LINE + SOURCE + "spare = 1", "lines[0].spare: expected a table, got int"),
    "pair": (LINE + SOURCE + "pair = [1, 'x']", "lines[0].pair[1]: expected float, got str"),
    "triple": (LINE + SOURCE + "pair = [1, 2, 3]", "lines[0].pair: expected list of length 2, got 3"),
    "shape": (LINE + SOURCE + "shape = [1, 0]", "lines[0].shape[1]: expected int >= 1, got 0"),
    "own check": (
        LINE + SOURCE + "rules = [{label = 'any'}]",
        "lines[0].rules[0]: a rule for any label is none",
    ),
    "huge": ("start = 1" + "0" * 400 + "\n" + GOOD, "start: number out of range"),
}


@pytest.mark.parametrize("name", ONE_FAULT)
def test_a_fault_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    text, says = ONE_FAULT[name]
    (fault,) = faults(text, tmp_path)
    assert fault.startswith(says)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    text = """
devise = "x"
start = "soon"
[[lines]]
id = "a b"
mode = "kid"
source = {kind = "images", fps = "fast", lop = true}
rules = [{label = 1}, {frames = 0}, {label = "c"}]
[[lines]]
source = {kind = "camera"}
options = {x = {}}
"""
    assert [fault.split(":")[0] for fault in faults(text, tmp_path)] == [
        "devise",
        "lines[0].id",
        "lines[0].source.lop",
        "lines[0].source.path",
        "lines[0].source.fps",
        "lines[0].mode",
        "lines[0].rules[0].label",
        "lines[0].rules[1].label",
        "lines[0].rules[1].frames",
        "lines[0].rules",
        "lines[1].id",
        "lines[1].source.device",
        "lines[1].options.x",
        "start",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"device = \n", r"is not TOML: .*line 1"),
        (b"a = 1\na = 2\n", r"is not TOML: .*line 2"),
        (b'device = "\xff"', "is not UTF-8 at byte 10"),
        (b"a = " + b"[" * 100_000, "is not TOML"),
        (b"a = " + b"9" * 5000, "is not TOML"),
        (b"#" * ((1 << 20) + 1), "has 1048577 bytes"),
        (b"", "device: is missing"),
    ],
    ids=["syntax", "twice", "utf8", "deep", "int", "long", "empty"],
)
def test_what_is_no_toml_is_one_error(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says):
        read(path, Config, UsageError)


def test_what_is_no_file_is_one_error(tmp_path: Path) -> None:
    class OwnError(OutriderError):
        pass

    with pytest.raises(OwnError, match="There is no file"):
        read(tmp_path / "missing.toml", Config, OwnError)
    with pytest.raises(OwnError, match="is not a file"):
        read(tmp_path, Config, OwnError)
    with pytest.raises(OwnError, match="is not a file"):
        read("/dev/zero", Config, OwnError)


def test_options_of_a_plug_in_are_named_below_their_place() -> None:
    assert convert({"label": "a"}, Rule, "lines[0].rule") == (Rule(label="a"), [])
    made, found = convert({"lable": "a", "frames": "x"}, Rule, "lines[0].rule")
    assert made is None
    assert found == [
        "lines[0].rule.lable: unknown key; did you mean 'label'?",
        "lines[0].rule.frames: expected int, got str",
    ]
