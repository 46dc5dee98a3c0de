"""The control socket: who gets in, what comes back, and the two commands that use it."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from outrider_agent import cli
from outrider_agent.config import read
from outrider_agent.control import server, text, wire
from outrider_agent.control.client import ask
from outrider_agent.control.handlers import handlers
from outrider_agent.control.server import Handler, Reply, Server
from outrider_agent.control.watching import Watched
from outrider_agent.engine.order import Progress, Swapped, Wish
from outrider_agent.engine.shadow import Record
from outrider_agent.supervisor import Agent
from outrider_bundle.errors import EngineError, MessageError, OutriderError, UsageError
from tests.fakes import agents, null_bundle
from tests.fakes.broker import eventually

PIPELINE = {
    "bundle": "sorter",
    "version": "1.2.0",
    "digest": "ab" * 32,
    "variant": "onnx-int8",
    "runtime": "onnx",
    "isolation": "child",
    "pid": 4711,
    "placement": {"device": "cpu", "backend": "CPUExecutionProvider", "nodes": {"CPUExecutionProvider": 64},
                  "threads": 2, "asked": "CUDAExecutionProvider", "reason": "no driver"},
    "state": "DEGRADED",
    "reason": "onnx-fp32 was skipped\x1b[2J",
    "frames": 1200,
    "dropped": 3,
    "late": 2,
    "errors": 1,
    "restarts": 5,
    "p50_ms": 1.2345,
    "p99_ms": 9.0,
    "shadow": {"frames": 20, "agreement": 0.95, "p50_ms": 1.0, "p95_ms": 2.0, "errors": 0},
}  # fmt: skip
DESCRIBED = {"run": "0123456789abcdef", "link": "up", "pipelines": {"belt": PIPELINE}}


class Steered:
    """An agent as far as the socket needs one."""

    def __init__(self, *names: str) -> None:
        self.pipelines: list[Watched] = []
        self.described = {**DESCRIBED, "pipelines": dict.fromkeys(names, PIPELINE)}
        self.asked: list[tuple[str, Path, Wish]] = []
        self.fault: Exception | None = None

    def describe(self) -> dict[str, Any]:
        return self.described

    def swap(self, pipeline: str, bundle: Path, wish: Wish, progress: Progress) -> Swapped:
        self.asked.append((pipeline, bundle, wish))
        progress("proving onnx-int8")
        if self.fault is not None:
            raise self.fault
        progress("seating onnx-int8")
        record = Record(frames=200, offered=201, agreement=0.99, p50_ms=3.0, p95_ms=4.0, errors=1)
        return Swapped(
            before="sorter 1.2.0", after="sorter 2.0.0", variant="onnx-int8", mode=wish.mode, shadow=record
        )


Serve = Callable[[Mapping[str, Handler]], Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    running: list[Server] = []

    def start(answers: Mapping[str, Handler]) -> Server:
        made = Server(tmp_path / wire.NAME, answers)
        made.start()
        running.append(made)
        assert made.listening
        return made

    yield start
    for one in running:
        one.close()


def echo(request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    for step in request.get("steps", []):
        progress(step)
    return {"heard": request}


def raw(folder: Path, sent: bytes, *, end: bool = True) -> dict[str, Any]:
    """Send bytes as they are; return the one line that comes back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.settimeout(10)
        agent.connect(str(folder / wire.NAME))
        agent.sendall(sent)
        if end:
            agent.shutdown(socket.SHUT_WR)
        with agent.makefile("rb") as lines:
            answer: dict[str, Any] = json.loads(lines.readline())
    return answer


def test_a_request_is_answered_with_its_progress_in_order(tmp_path: Path, serve: Serve) -> None:
    serve({"echo": echo})
    heard: list[str] = []
    request = {"command": "echo", "steps": ["one", "two", "three"], "value": 1.5}
    assert ask(tmp_path, request, heard.append) == {"heard": request}
    assert heard == ["one", "two", "three"]


def test_a_result_may_come_in_parts(tmp_path: Path, serve: Serve) -> None:
    def parts(_request: dict[str, Any], reply: Reply) -> dict[str, Any]:
        for number in range(3):
            reply(f"step {number}")
            reply.item({"number": number, "data": bytes([number])})
        return {"parts": 3}

    serve({"parts": parts})
    heard: list[object] = []
    assert ask(tmp_path, {"command": "parts"}, heard.append, on_item=heard.append) == {"parts": 3}
    assert heard[::2] == ["step 0", "step 1", "step 2"]
    assert heard[1::2] == [{"number": at, "data": text} for at, text in enumerate(("AA==", "AQ==", "Ag=="))]


def test_the_socket_is_its_owners_alone_and_goes_with_the_server(tmp_path: Path, serve: Serve) -> None:
    served = serve({"echo": echo})
    assert (tmp_path / wire.NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [wire.NAME]
    served.close()
    served.close()
    assert not served.listening
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "control"]


def test_a_socket_that_a_dead_agent_left_is_replaced(tmp_path: Path, serve: Serve) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(tmp_path / wire.NAME))
    with pytest.raises(OutriderError, match="No agent runs"):
        ask(tmp_path, {"command": "echo"})
    serve({"echo": echo})
    assert ask(tmp_path, {"command": "echo"})["heard"] == {"command": "echo"}


def test_a_path_of_any_length_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("longer" * 20)
    folder.mkdir(parents=True)
    assert len(str(folder)) > 2 * wire.MAX_NAME
    served = Server(folder / wire.NAME, {"echo": echo})
    served.start()
    try:
        assert ask(folder, {"command": "echo"})["heard"] == {"command": "echo"}
    finally:
        served.close()
    assert list(folder.iterdir()) == []


def test_where_no_socket_can_be_the_agent_goes_on_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (tmp_path / "none" / wire.NAME, tmp_path / "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        served = Server(path, {"echo": echo})
        served.start()
        assert not served.listening
        served.close()
    assert caplog.text.count("No control socket at") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_refusal_arrives_with_its_words_and_exit_code(tmp_path: Path, serve: Serve) -> None:
    def refuse(_request: dict[str, Any], _progress: Callable[[str], None]) -> dict[str, Any]:
        raise EngineError("The model does not load", "Convert it again")

    serve({"refuse": refuse})
    with pytest.raises(OutriderError, match=r"^The model does not load\. Convert it again\.$") as caught:
        ask(tmp_path, {"command": "refuse"})
    assert caught.value.exit_code == EngineError.exit_code


def crashes(_request: dict[str, Any], _progress: Callable[[str], None]) -> dict[str, Any]:
    raise RuntimeError("broken")


def answers_nonsense(_request: dict[str, Any], _progress: Callable[[str], None]) -> dict[str, Any]:
    return {"value": object()}


@pytest.mark.parametrize("broken", [crashes, answers_nonsense])
def test_a_fault_of_the_agent_is_one_sentence_there_and_a_traceback_in_its_log(
    broken: Handler, tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    serve({"broken": broken})
    with pytest.raises(OutriderError, match="The command 'broken' failed: ") as caught:
        ask(tmp_path, {"command": "broken"})
    assert caught.value.exit_code == 1
    assert "Traceback" not in str(caught.value)
    assert "Traceback" in caplog.text


def test_a_command_that_is_not_there_names_those_that_are(tmp_path: Path, serve: Serve) -> None:
    serve({"status": echo, "swap": echo})
    for command in ("swop", None, ["swap"]):
        with pytest.raises(OutriderError, match="It knows: status, swap") as caught:
            ask(tmp_path, {"command": command})
        assert caught.value.exit_code == UsageError.exit_code


@pytest.mark.parametrize(
    "sent",
    [b"\n", b"", b"swap\n", b"[1]\n", b'{"command": "echo"', b"\xff\xfe\n", b"[" * 50_000 + b"\n"],
)
def test_what_is_no_request_is_refused(sent: bytes, tmp_path: Path, serve: Serve) -> None:
    serve({"echo": echo})
    answer = raw(tmp_path, sent)
    assert "no message" in answer["error"]
    assert answer["exit"] == MessageError.exit_code
    assert ask(tmp_path, {"command": "echo"})["heard"] == {"command": "echo"}


def test_a_request_without_end_is_refused(tmp_path: Path, serve: Serve) -> None:
    serve({"echo": echo})
    with pytest.raises(OutriderError, match=f"more than {wire.MAX_REQUEST} bytes"):
        ask(tmp_path, {"command": "echo", "filling": "x" * (wire.MAX_REQUEST + 5000)})


def test_a_peer_that_does_not_finish_its_request_is_refused_in_time(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.1)
    serve({"echo": echo})
    assert "did not come within 0.1 s" in raw(tmp_path, b'{"command":', end=False)["error"]


def test_a_long_command_keeps_no_other_waiting_and_is_alone(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BUSY_S", 0.05)
    begun, released = threading.Event(), threading.Event()

    def long(_request: dict[str, Any], _progress: Callable[[str], None]) -> dict[str, Any]:
        begun.set()
        assert released.wait(30)
        return {"done": True}

    serve({"swap": long, "status": echo})
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(
        target=lambda: answers.append(ask(tmp_path, {"command": "swap"}, timeout_s=30))
    )
    waiting.start()
    assert begun.wait(10)
    assert ask(tmp_path, {"command": "status"})["heard"] == {"command": "status"}
    with pytest.raises(OutriderError, match="Another 'swap' is under way"):
        ask(tmp_path, {"command": "swap"})
    released.set()
    waiting.join(10)
    assert answers == [{"done": True}]
    assert ask(tmp_path, {"command": "swap"}) == {"done": True}


def test_a_command_outlives_a_peer_that_leaves_or_does_not_read(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SEND_S", 0.05)
    ended = threading.Event()

    def talkative(_request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        for _ in range(100):
            progress("x" * 100_000)
        ended.set()
        return {}

    serve({"talk": talkative})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.connect(str(tmp_path / wire.NAME))
        deaf.sendall(b'{"command": "talk"}\n')
        assert ended.wait(10)
    ended.clear()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.connect(str(tmp_path / wire.NAME))
        gone.sendall(b'{"command": "talk"}\n')
    assert ended.wait(10)


def test_too_many_peers_are_turned_away_and_room_comes_back(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_PEERS", 2)
    serve({"echo": echo})
    silent = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
    for one in silent:
        one.connect(str(tmp_path / wire.NAME))
    with pytest.raises(OutriderError, match="others talk to the agent"):
        ask(tmp_path, {"command": "echo"})
    for one in silent:
        one.close()

    def answered() -> bool:
        try:
            return "heard" in ask(tmp_path, {"command": "echo"})
        except OutriderError:
            return False

    eventually(answered)


def test_an_agent_that_is_silent_or_dies_is_told_from_one_that_answers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.bind(str(tmp_path / wire.NAME))
        agent.listen(1)
        with pytest.raises(OutriderError, match=r"silent for 0\.1 s"):
            ask(tmp_path, {"command": "status"}, timeout_s=0.1)
        agent.accept()[0].close()

        def die() -> None:
            peer = agent.accept()[0]
            peer.recv(1000)
            peer.close()

        dying = threading.Thread(target=die)
        dying.start()
        with pytest.raises(OutriderError, match="ended before it answered"):
            ask(tmp_path, {"command": "status"})
        dying.join(10)


STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
try:
    peer.connect(sys.argv[1])
except PermissionError:
    print("closed")
else:
    try:
        peer.sendall(b'{"command": "echo"}\\n')
    except BrokenPipeError:  # turned away already: it says why
        pass
    print(peer.makefile().readline())
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder of this test alone that every user may look into."""
    with tempfile.TemporaryDirectory(prefix="outrider-control-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_does_not_get_in(open_folder: Path) -> None:
    path = open_folder / wire.NAME
    served = Server(path, {"echo": echo})
    served.start()

    def stranger() -> str:
        command = [sys.executable, "-S", "-c", STRANGER, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

    try:
        assert stranger() == "closed\n"
        path.chmod(0o666)
        assert "belongs to another user" in json.loads(stranger())["error"]
    finally:
        served.close()


def run(*arguments: object) -> int:
    return cli.main([str(one) for one in arguments])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    device = {**agents.document(tmp_path, None)["device"], "state_dir": str(tmp_path)}
    return agents.write(tmp_path / "agent.toml", agents.document(tmp_path, None, device=device))


def test_status_for_people(config: Path, serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(handlers(Steered("belt", "lid")))
    assert run("status", "--config", config) == 0
    shown = capsys.readouterr().out
    paragraphs = shown.split("\n\n")
    assert paragraphs[0] == "run 0123456789abcdef, link up"
    assert [paragraph.split()[:2] for paragraph in paragraphs[1:]] == [
        ["belt", "DEGRADED"],
        ["lid", "DEGRADED"],
    ]
    for said in (
        "sorter 1.2.0, abababababababab\n",
        "onnx-int8, runtime onnx",
        "cpu; 64 nodes CPUExecutionProvider; 2 threads; asked was CUDAExecutionProvider: no driver",
        "child, process 4711, 5 restarts",
        "1200, 3 dropped, 2 late, 1 errors",
        "p50 1.23 ms, p99 9 ms",
        "20 frames, agreement 95.0%, p50 1 ms, p95 2 ms, 0 errors",
        "was skipped\N{REPLACEMENT CHARACTER}[2J",
    ):
        assert said in paragraphs[1] + "\n"
    assert "\x1b" not in shown


def test_status_for_programs_is_what_the_agent_says(
    config: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(handlers(Steered("belt")))
    assert run("status", "--config", config, "--json") == 0
    assert json.loads(capsys.readouterr().out) == DESCRIBED


def test_an_answer_that_lacks_something_is_still_shown() -> None:
    assert text.status({}) == "run ?, link ?"
    assert "belt" in text.status({"pipelines": {"belt": {"shadow": {"agreement": None}, "placement": None}}})
    assert "shadow: none" in text.swap({})


def test_swap_tells_progress_apart_from_its_result(
    config: Path,
    serve: Serve,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = Steered("belt")
    serve(handlers(agent))
    monkeypatch.chdir(tmp_path)
    assert run("swap", "new.orb", "--config", config) == 0
    shown = capsys.readouterr()
    assert shown.err == "proving onnx-int8\nseating onnx-int8\n"
    assert shown.out == (
        "swapped sorter 1.2.0 for sorter 2.0.0, variant onnx-int8, mode overlap\n"
        "shadow: 200 frames, agreement 99.0%, p50 3 ms, p95 4 ms, 1 errors\n"
    )
    assert run("swap", "new.orb", "--config", config, "--pipeline", "belt", "--json") == 0
    assert json.loads(capsys.readouterr().out)["after"] == "sorter 2.0.0"
    assert [(name, path) for name, path, _ in agent.asked] == [("belt", tmp_path / "new.orb")] * 2


@pytest.mark.parametrize(
    ("given", "wish"),
    [
        ((), Wish(share=0.25, frames=200)),
        (("--shadow", 0.5, "--frames", 7, "--agreement", 0.9), Wish(share=0.5, frames=7, agreement=0.9)),
        (("--shadow", 0), Wish()),
        (("--mode", "replace"), Wish(mode="replace")),
    ],
)
def test_a_swap_is_done_as_asked(given: tuple[object, ...], wish: Wish, config: Path, serve: Serve) -> None:
    agent = Steered("belt")
    serve(handlers(agent))
    assert run("swap", "new.orb", "--config", config, *given) == 0
    assert [asked[2] for asked in agent.asked] == [wish]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "It is not clear which pipeline is meant. Give --pipeline: belt, lid"),
        (("--pipeline", "bolt"), "The agent has no pipeline 'bolt'. There are: belt, lid"),
        (("--shadow", 1.5), "--shadow is 1.5"),
        (("--agreement", -1), "--agreement is -1"),
        (("--frames", 0), "--frames is 0"),
        (("--shadow", 0, "--agreement", 0.5), "--agreement needs a shadow"),
        (("--mode", "replace", "--shadow", 0.5), "nothing runs in the shadow"),
    ],
)
def test_a_swap_that_cannot_be_meant_is_not_asked_for(
    given: tuple[object, ...], message: str, config: Path, serve: Serve
) -> None:
    agent = Steered("belt", "lid")
    serve(handlers(agent))
    with pytest.raises(UsageError) as caught:
        run("swap", "new.orb", "--config", config, *given)
    assert message in str(caught.value)
    assert agent.asked == []


def test_a_swap_that_is_refused_ends_with_the_agents_exit_code(config: Path, serve: Serve) -> None:
    agent = Steered("belt")
    agent.fault = EngineError("It does not run", "Mend it")
    serve(handlers(agent))
    with pytest.raises(OutriderError, match="It does not run") as caught:
        run("swap", "new.orb", "--config", config)
    assert caught.value.exit_code == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bundle": "new.orb"}, "no absolute path"),
        ({"wish": {"mode": "sideways"}}, "That is no swap"),
        ({"wish": {"frames": -1}}, "That is no swap"),
        ({"shade": 1}, "unknown field"),
    ],
)
def test_the_agent_checks_requests_itself(
    change: dict[str, Any], message: str, tmp_path: Path, serve: Serve
) -> None:
    agent = Steered("belt")
    serve(handlers(agent))
    request = {"command": "swap", "pipeline": "belt", "bundle": "/new.orb", **change}
    with pytest.raises(OutriderError, match=message) as caught:
        ask(tmp_path, request)
    assert caught.value.exit_code == 2
    assert agent.asked == []


def test_without_an_agent_or_a_device_table_there_is_one_message(config: Path, tmp_path: Path) -> None:
    with pytest.raises(OutriderError, match="No agent runs with the state directory") as caught:
        run("status", "--config", config)
    assert caught.value.exit_code == 1
    config.write_text("[device]\nid = 'x'\n")
    with pytest.raises(UsageError, match=r"device\.state_dir: is missing"):
        run("status", "--config", config)
    with pytest.raises(UsageError, match="There is no file"):
        run("status", "--config", tmp_path / "none.toml")


def test_a_real_agent_says_how_it_is_and_swaps(
    tmp_path: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, version in (("sorter", "1.2.0"), ("second", "2.0.0")):
        null_bundle.write(tmp_path / f"{name}.orb", version=version)
    null_bundle.write_images(tmp_path / "images", 20)
    source = {"kind": "images", "path": str(tmp_path / "images"), "fps": 100.0, "loop": True}
    changed = {"source": source, "engine": {"isolation": "inline", "deadline_ms": 5000.0}}
    document = agents.document(tmp_path, None, changed)
    document["device"]["state_dir"] = str(tmp_path)
    path = agents.write(tmp_path / "agent.toml", document)
    agent = Agent(read(path), "0123456789abcdef")
    agent.start()
    serve(handlers(agent))
    try:
        assert run("status", "--config", path) == 0
        shown = capsys.readouterr().out
        assert "?" not in shown
        for said in (
            "run 0123456789abcdef, link none",
            "sorter 1.2.0",
            "null-a, runtime null",
            "inline, process ",
        ):
            assert said in shown
        assert run("swap", tmp_path / "second.orb", "--config", path, "--shadow", 1, "--frames", 5) == 0
        told = capsys.readouterr()
        assert "swapped sorter 1.2.0 for sorter 2.0.0, variant null-a, mode overlap" in told.out
        assert "agreement 100.0%" in told.out
        assert "shadowing null-a" in told.err
        assert run("status", "--config", path, "--json") == 0
        assert json.loads(capsys.readouterr().out)["pipelines"]["belt"]["version"] == "2.0.0"
        with pytest.raises(OutriderError, match="There is no bundle") as caught:
            run("swap", tmp_path / "none.orb", "--config", path)
        assert caught.value.exit_code == 10
    finally:
        agent.stop("the test is over")
