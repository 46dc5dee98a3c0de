"""The command `outrider`: one command is imported, and every end has its exit code."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from outrider_bundle.dispatch import EXTRAS, SUMMARIES, main
from outrider_bundle.plugins import names

COMMANDS = '''
"""Commands as a third party would add them."""
import sys
from typing import Annotated
import typer
from outrider_bundle.dispatch import run_app
from outrider_bundle.errors import DataError, SignatureError

app = typer.Typer(add_completion=False)

@app.command()
def number(count: int, code: Annotated[int, typer.Option()] = 0) -> int:
    """Return a code."""
    print(count)
    return code

@app.command()
def leave() -> None:
    raise typer.Exit(9)

@app.command()
def stop() -> None:
    raise KeyboardInterrupt

@app.command()
def abort() -> None:
    raise typer.Abort

@app.command()
def ours() -> None:
    raise SignatureError("Not signed", "Sign it")

def typed(argv): return run_app(app, argv, "outrider typed")
def echo(argv): print(*argv); return None
def seven(argv): return 7
def ours(argv): raise DataError("The data do not fit", "Fix them")
def hostile(argv): raise DataError("Bad name \\x1b[31m\\u202e\\nsecond")
def crash(argv): raise ZeroDivisionError("by zero")
def interrupted(argv): raise KeyboardInterrupt
def exits(argv): sys.exit(int(argv[0]) if argv else None)
def says(argv): sys.exit("gone wrong")
def lazy(argv): import library_that_is_not_there
def users(argv): import users_file
def flood(argv):
    while True: print("x" * 1000)
'''

POINTS = [
    "typed",
    "echo",
    "seven",
    "ours",
    "hostile",
    "crash",
    "interrupted",
    "exits",
    "says",
    "lazy",
    "users",
    "flood",
]


SEE = "run with OUTRIDER_TRACEBACK=1 to see where"
USERS = (
    "outrider: error: 'users_file' needs a_third_library_that_is_not_there, which is not installed. "
    "Install it beside outrider."
)
NEEDS = (
    "outrider: error: 'outrider {0}' needs {1}, which is not installed. "
    "Install it: pip install 'outrider[{0}]'."
)


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution with commands of its own."""
    (tmp_path / "fake_commands.py").write_text(COMMANDS)
    (tmp_path / "fake_broken.py").write_text("import another_library_that_is_not_there\nmain = print\n")
    (tmp_path / "users_file.py").write_text("import a_third_library_that_is_not_there\n")
    (tmp_path / "fake_torn.py").write_text("import outrider_bundle.not_there\nmain = print\n")
    folder = tmp_path / "fake_commands-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-commands\nVersion: 1.0\n")
    lines = [f"{name} = fake_commands:{name}" for name in POINTS]
    lines += ["broken = fake_broken:main", "torn = fake_torn:main"]
    (folder / "entry_points.txt").write_text("[outrider.commands]\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("fake_commands", "fake_broken", "fake_torn"):
        sys.modules.pop(module, None)
    return tmp_path


Captured = pytest.CaptureFixture[str]


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize(
    ("argv", "code", "out", "err"),
    [
        (["echo", "a", "--b"], 0, "a --b\n", ""),
        (["seven"], 7, "", ""),
        (["ours"], 31, "", "outrider: error: The data do not fit. Fix them.\n"),
        (["hostile"], 31, "", "outrider: error: Bad name \\x1b[31m\\u202e\nsecond\n"),
        (["interrupted"], 130, "", ""),
        (["exits"], 0, "", ""),
        (["exits", "5"], 5, "", ""),
        (["says"], 1, "", "outrider: error: gone wrong\n"),
        (
            ["crash"],
            70,
            "",
            f"outrider: error: unexpected ZeroDivisionError: by zero; {SEE}\n",
        ),
        (
            ["lazy"],
            3,
            "",
            f"{NEEDS.format('lazy', 'library_that_is_not_there')}\n",
        ),
        (
            ["broken"],
            3,
            "",
            f"{NEEDS.format('broken', 'another_library_that_is_not_there')}\n",
        ),
        (
            ["users"],
            1,
            "",
            USERS,
        ),
        (["typed", "number", "4"], 0, "4\n", ""),
        (["typed", "number", "4", "--code", "6"], 6, "4\n", ""),
        (["typed", "leave"], 9, "", ""),
        (["typed", "stop"], 130, "", ""),
        (["typed", "abort"], 130, "", ""),
        (["typed", "ours"], 11, "", "outrider: error: Not signed. Sign it.\n"),
    ],
)
def test_every_end_has_its_code(argv: list[str], code: int, out: str, err: str, capsys: Captured) -> None:
    assert main(argv) == code
    captured = capsys.readouterr()
    assert captured.out == out
    assert captured.err.strip() == err.strip()


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["typed", "number", "x"], "int"),
        (["typed", "number"], "argument 'count'"),
        (["typed", "number", "4", "--cod", "6"], "--cod"),
        (["typed", "numbr"], "numbr"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_code_2(argv: list[str], says: str, capsys: Captured) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("outrider: error: ")
    assert says in line.lower()
    assert line.endswith("--help")


@pytest.mark.usefixtures("plugged")
def test_what_is_torn_of_ours_is_no_missing_extra(capsys: Captured) -> None:
    assert main(["torn"]) == 1
    assert "'outrider torn' is not installed as a whole" in capsys.readouterr().err


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize(("command", "last"), [("crash", "by zero"), ("ours", "Fix them.")])
def test_a_traceback_comes_on_demand_only(
    command: str, last: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    main([command])
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("OUTRIDER_TRACEBACK", "1")
    main([command])
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "fake_commands.py" in err
    assert last in err


@pytest.mark.usefixtures("plugged")
def test_only_the_command_that_runs_is_imported(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    assert main(["no-such-command"]) == 2
    assert not {"fake_commands", "fake_broken", "fake_torn"} & set(sys.modules)
    main(["echo"])
    assert "fake_commands" in sys.modules
    assert "fake_broken" not in sys.modules
    capsys.readouterr()


@pytest.mark.usefixtures("plugged")
def test_help_lists_our_commands_and_those_of_others(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in (*SUMMARIES, "echo", "flood"))
    assert main([]) == 2
    assert capsys.readouterr().out == text


def test_our_commands_are_all_described() -> None:
    assert set(names("outrider.commands")) == set(SUMMARIES)
    assert set(EXTRAS) | {"bundle"} == set(SUMMARIES)


def test_version(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"outrider {version('outrider')}\n"


@pytest.mark.parametrize(
    ("name", "cure"),
    [("bundel", "Did you mean 'outrider bundle'?\n"), ("zzz", "Commands: agent, bundle, convert")],
)
def test_an_unknown_command_names_its_neighbour(name: str, cure: str, capsys: Captured) -> None:
    assert main([name]) == 2
    assert f"There is no command '{name}'. {cure}" in capsys.readouterr().err


def python(*arguments: str, path: Path | None = None) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(path or "")}
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


CALL = "import sys; from outrider_bundle.dispatch import main; sys.exit(main(sys.argv[1:]))"


def test_a_reader_that_leaves_is_no_error(plugged: Path) -> None:
    with python("-c", CALL, "flood", path=plugged) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "x" * 1000 + "\n"
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 141


def test_a_reader_that_never_was_is_no_error() -> None:
    """Little output stays in the buffer until the end: then too, nothing is said."""
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-c", CALL, "--version"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    try:
        done = subprocess.run(
            argv, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=30, env=env
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_dispatcher_imports_neither_typer_nor_rich_nor_what_it_lists() -> None:
    program = (
        "import sys; from outrider_bundle.dispatch import main; main(['--help']); main(['--version']); "
        "heavy = {'typer', 'rich', 'click', 'cryptography', 'numpy', 'msgspec', 'torch'}; "
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in heavy or m.startswith('outrider_')))"
    )
    with python("-c", program) as process:
        out, err = process.communicate(timeout=30)
    assert err == ""
    assert out.splitlines()[-1] == str(
        ["outrider_bundle", "outrider_bundle.dispatch", "outrider_bundle.errors", "outrider_bundle.plugins"]
    )


def test_the_installed_script_is_this_dispatcher() -> None:
    script = Path(sys.executable).with_name("outrider")
    done = subprocess.run(
        [script, "bundle", "inspect", "/nowhere.orb"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 10
    assert done.stdout == ""
    assert done.stderr == "outrider: error: There is no bundle /nowhere.orb. Correct the path.\n"
