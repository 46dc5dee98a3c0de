import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from outrider_agent import parts
from outrider_agent.actions.command import CommandAction
from outrider_agent.seams import Context, NullPublisher
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())


def event(seq: int = 0, **data: Any) -> Event:  # noqa: ANN401 - what a policy puts there
    return Event(run="0" * 16, seq=seq, time=1.5, pipeline="belt", kind="decision", frame="f1", data=data)


class Site:
    """A folder with programs, and a pipe through which they tell what they do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pipe = folder / "told"
        os.mkfifo(self._pipe)
        self._handle = os.open(self._pipe, os.O_RDWR)
        self._reader = os.fdopen(os.dup(self._handle), buffering=1)
        self._actions: list[CommandAction] = []

    def program(self, text: str, name: str = "take") -> str:
        """Write a shell script; what it writes to descriptor 3 is told."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nexec 3>{self._pipe}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def act(self, *argv: str, **options: Any) -> CommandAction:  # noqa: ANN401 - of the action
        part, faults = parts.find(parts.ACTIONS, {"kind": "command", "argv": argv, **options}, "actions[0]")
        assert part is not None, faults
        action = parts.action(part, CONTEXT)
        assert isinstance(action, CommandAction)
        self._actions.append(action)
        return action

    def told(self) -> str:
        """Return the next line that a program told."""
        return self._reader.readline().rstrip("\n")

    def close(self) -> None:
        for action in self._actions:
            action.close()
        self._reader.close()
        os.close(self._handle)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def fault(action: CommandAction) -> str:
    """Return the fault as soon as the action tells one."""
    end_s = monotonic() + 10
    while monotonic() < end_s:
        try:
            action._worker.check()
        except OutriderError as error:
            return str(error)
        threading.Event().wait(0.005)
    raise AssertionError("there was no fault")


def ended(process: int) -> bool:
    """Return whether a process is gone, or dead and not yet taken notice of."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_ended(process: int) -> None:
    end_s = monotonic() + 10
    while not ended(process):
        assert monotonic() < end_s
        threading.Event().wait(0.005)


def test_a_program_reads_the_decision_and_nothing_of_it_is_an_argument(site: Site) -> None:
    action = site.act(site.program('cat >&3; echo >&3; echo "$# $1" >&3'), "$(reboot)")
    action.apply(event(4, label="; reboot", run="its own"))
    assert json.loads(site.told()) == {
        "label": "; reboot",
        "run": "0" * 16,
        "seq": 4,
        "time": 1.5,
        "pipeline": "belt",
        "frame": "f1",
    }
    assert site.told() == "1 $(reboot)"


def test_its_environment_is_what_the_configuration_says(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "secret")
    program = site.program('env | cut -d= -f1 | sort | tr "\\n" " " >&3; echo "$MODE $(pwd)" >&3')
    action = site.act(program, env={"MODE": "fast"}, cwd=str(site.folder))
    action.apply(event())
    *names, mode, folder = site.told().split()
    assert {"LANG", "MODE", "PATH"} <= set(names) <= {"LANG", "MODE", "PATH", "PWD", "SHLVL", "_", "OLDPWD"}
    assert (mode, folder) == ("fast", str(site.folder))


def test_a_large_decision_and_a_program_that_does_not_read_it(site: Site) -> None:
    action = site.act(site.program("wc -c >&3; exec true"))
    action.apply(event(values=["x" * 100] * 10_000))
    assert int(site.told()) > 1_000_000
    silent = site.act(site.program("echo done >&3", "deaf"))
    silent.apply(event(values=["x" * 100] * 10_000))
    assert site.told() == "done"
    silent.close()
    silent._worker.check()


def test_one_runs_at_a_time_and_the_oldest_that_waits_is_lost(site: Site) -> None:
    gate = site.folder / "gate"
    os.mkfifo(gate)
    action = site.act(site.program(f"cat >&3; echo >&3; read -r go <{gate}"), queue=1)
    action.apply(event(0))
    assert json.loads(site.told())["seq"] == 0
    action.apply(event(1))
    with pytest.raises(OutriderError, match="1 decisions are lost"):
        action.apply(event(2))
    gate.write_text("go\n")
    assert json.loads(site.told())["seq"] == 2
    gate.write_text("go\n")
    action.close()
    action._worker.check()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo first >&2; echo the motor is hot >&2; exit 3", "ended with code 3: the motor is hot"),
        ("exit 1", "ended with code 1: it did not say why"),
        ("kill -TERM $$", "was killed by SIGTERM"),
        ("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 2", f"ended with code 2: {'x' * 200}"),
    ],
)
def test_another_code_than_0_is_a_fault(site: Site, text: str, words: str) -> None:
    action = site.act(site.program(text))
    action.apply(event())
    assert words in fault(action)


def test_a_program_that_takes_too_long_is_killed_with_its_children(site: Site) -> None:
    action = site.act(site.program("sleep 60 & echo $! >&3; wait"), timeout_s=0.3)
    action.apply(event())
    child = int(site.told())
    assert "took longer than 0.3 s and was killed" in fault(action)
    wait_ended(child)


def test_what_a_program_leaves_behind_does_not_hold_it_up(site: Site) -> None:
    action = site.act(site.program("sleep 60 & echo $! >&3; echo wrong >&2; exit 4"), timeout_s=30.0)
    action.apply(event())
    child = int(site.told())
    assert "ended with code 4: wrong" in fault(action)
    os.kill(child, signal.SIGKILL)


def test_a_program_may_close_its_standard_error(site: Site) -> None:
    action = site.act(site.program("exec 2>&-; echo closed >&3; exit 5"))
    action.apply(event())
    assert site.told() == "closed"
    assert "ended with code 5" in fault(action)


def test_the_safe_program_kills_what_runs_and_throws_away_what_waits(site: Site) -> None:
    safe = site.program('cat >&3; echo "safe $1" >&3', "safe")
    action = site.act(
        site.program("sleep 60 & echo $! >&3; wait"), safe=[safe, "now"], timeout_s=60.0, queue=4
    )
    for seq in range(4):
        action.apply(event(seq))
    child = int(site.told())
    action.safe_state()
    assert site.told() == "safe now"
    wait_ended(child)
    action.close()
    action._worker.check()


def test_the_safe_program_runs_until_it_succeeds(site: Site) -> None:
    tried = site.folder / "tried"
    safe = site.program(f"echo safe >&3; test -e {tried} || {{ touch {tried}; exit 1; }}", "safe")
    action = site.act(site.program("exit 0"), safe=[safe])
    action.safe_state()
    assert [site.told(), site.told()] == ["safe", "safe"]
    action.close()
    action._worker.check()


def test_without_a_safe_program_what_waits_is_thrown_away(site: Site) -> None:
    gate = site.folder / "gate"
    os.mkfifo(gate)
    action = site.act(site.program(f"cat >&3; echo >&3; read -r go <{gate}"))
    action.apply(event(0))
    assert json.loads(site.told())["seq"] == 0
    action.apply(event(1))
    action.safe_state()
    action.apply(event(2))
    gate.write_text("go\n")
    assert json.loads(site.told())["seq"] == 2
    gate.write_text("go\n")


def test_a_program_that_is_gone_is_a_fault(site: Site) -> None:
    program = site.program("exit 0")
    action = site.act(program)
    Path(program).unlink()
    action.apply(event())
    assert "does not start" in fault(action)


def test_programs_that_cannot_be_run_are_refused_at_once(site: Site) -> None:
    plain = site.folder / "plain"
    plain.write_text("")
    for options, words in (
        ({"argv": [str(site.folder / "none")]}, "There is no program"),
        ({"argv": ["/bin/sh"], "safe": [str(site.folder)]}, "There is no program"),
        ({"argv": [str(plain)]}, "chmod"),
        ({"argv": ["/bin/sh"], "cwd": str(plain)}, "There is no folder"),
    ):
        argv = options.pop("argv")
        with pytest.raises(UsageError, match=words):
            site.act(*argv, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"argv": []},
        {"argv": ["sh"]},
        {"argv": "sh -c true"},
        {"argv": ["/bin/sh"], "safe": ["sh"]},
        {"argv": ["/bin/sh", "a\0b"]},
        {"argv": ["/bin/sh"], "cwd": "here"},
        {"argv": ["/bin/sh"], "env": {"A=B": "c"}},
        {"argv": ["/bin/sh"], "shell": True},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(options: Mapping[str, Any]) -> None:
    part, faults = parts.find(parts.ACTIONS, {"kind": "command", **options}, "actions[0]")
    assert part is None
    assert len(faults) == 1
