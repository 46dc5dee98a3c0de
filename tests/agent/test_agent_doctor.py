"""The doctor: machines as trees of files, brokers that are real or lie, plug-ins that crash."""

import errno
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider_agent.doctor import accelerators, boards, cameras, child, cli, needs, plug_ins
from outrider_agent.doctor.brokers import Broker, broker
from outrider_agent.doctor.child import Probe
from outrider_agent.doctor.needs import Choice, judge
from outrider_agent.doctor.row import Row
from outrider_agent.doctor.system import TIME_ERROR, clock, system
from outrider_bundle.errors import OutriderError, UsageError
from outrider_fleet.broker import free_port
from tests.fakes import agents, certificates, null_bundle
from tests.fakes.broker import Broker as Mosquitto
from tests.fakes.broker import Listener


def tree(root: Path, files: dict[str, str]) -> Path:
    """Write files below `root`; an empty text is an empty file."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


# Cameras


def capability(card: str, every: int, own: int = 0) -> bytes:
    """Return `struct v4l2_capability` as a driver fills it in."""
    return struct.pack("=16s32s32sIII3I", b"uvcvideo", card.encode(), b"usb-1", 6, every, own, 0, 0, 0)


def test_cameras_are_told_from_what_only_looks_like_one(tmp_path: Path) -> None:
    root = tree(tmp_path, {f"dev/video{number}": "" for number in (0, 1, 2, 10)})
    (root / "dev/v4l/by-id").mkdir(parents=True)
    (root / "dev/v4l/by-id/usb-cam").symlink_to(root / "dev/video0")
    said = {
        "video0": capability("Webcam", 0x84A00001, 0x04200001),
        "video1": capability("Webcam", 0x84A00001, 0x04A00000),  # the same camera's metadata
        "video2": capability("codec", 0x84204000, 0x04204000),
        "video10": capability("Old one", 0x00000001),
    }
    rows = cameras.cameras(root, lambda device: said[device.name])
    assert [(row.name, row.state) for row in rows] == [
        ("/dev/video0 (usb-cam)", "ok"),
        ("/dev/video10", "ok"),
    ]
    assert rows[0].detail == "Webcam, driver uvcvideo, usb-1"


def test_a_camera_that_may_not_be_opened_is_a_problem_with_its_cure(tmp_path: Path) -> None:
    root = tree(tmp_path, {"dev/video0": "", "sys/class/video4linux/video0/name": "Webcam\n"})

    def refused(_device: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    (row,) = cameras.cameras(root, refused)
    assert (row.state, row.detail) == ("problem", "Webcam: Permission denied")
    assert "usermod -aG video" in row.cure


def test_what_is_no_video_device_is_a_problem_and_none_is_missing(tmp_path: Path) -> None:
    (row,) = cameras.cameras(tree(tmp_path, {"dev/video0": ""}))
    assert row.state == "problem"
    (row,) = cameras.cameras(tmp_path / "empty")
    assert (row.state, row.detail) == ("missing", "no /dev/video*")


# Accelerators

LISTED = "\tlibedgetpu.so.1 (libc6,x86-64) => /lib/libedgetpu.so.1\n\tlibvx_delegate.so (libc6) => /lib/x\n"
STICK = {"idVendor": "18d1\n", "idProduct": "9302\n", "busnum": "2\n", "devnum": "7\n"}
CARD = {"vendor": "0x1ac1\n", "device": "0x089a\n", "class": "0x0880ff\n"}


def stick(ids: dict[str, str]) -> dict[str, str]:
    return {f"sys/bus/usb/devices/2-1/{name}": text for name, text in ids.items()} | {
        "dev/bus/usb/002/007": ""
    }


def card() -> dict[str, str]:
    return {f"sys/bus/pci/devices/0000:01:00.0/{name}": text for name, text in CARD.items()}


@pytest.mark.parametrize(
    ("files", "listed", "state", "words"),
    [
        ({}, "", "missing", "libedgetpu1-std"),
        ({}, LISTED, "missing", "no device on USB or PCIe"),
        (stick(STICK), LISTED, "ok", "/dev/bus/usb/002/007"),
        (stick({**STICK, "idVendor": "1a6e", "idProduct": "089a"}), "", "problem", "libedgetpu1-std"),
        (stick({**STICK, "idProduct": "0000"}), LISTED, "missing", "no device"),
        (card(), LISTED, "problem", "gasket-dkms"),
        (card() | {"dev/apex_0": ""}, LISTED, "ok", "/dev/apex_0"),
    ],
)
def test_an_edge_tpu_needs_device_driver_and_library(
    files: dict[str, str], listed: str, state: str, words: str, tmp_path: Path
) -> None:
    row = accelerators.accelerators(tree(tmp_path, files), listed)[0]
    assert (row.name, row.state) == ("Edge TPU", state)
    assert words in row.detail + row.cure
    assert bool(row.cure) == (state == "problem" or not listed)


def test_other_delegates_are_listed_where_the_linker_knows_them(tmp_path: Path) -> None:
    rows = accelerators.accelerators(tmp_path, LISTED)
    assert [(row.name, row.state) for row in rows[1:]] == [("libvx_delegate.so", "ok")]


def test_a_gpu_is_of_use_where_a_runtime_has_it(tmp_path: Path) -> None:
    gpu = {"vendor": "0x8086\n", "class": "0x030000\n"}
    root = tree(tmp_path, {f"sys/bus/pci/devices/0000:00:02.0/{name}": text for name, text in gpu.items()})
    tree(root, {"proc/driver/nvidia/version": "NVRM version: 550\n"})
    usable = "openvino 1; CPU, GPU onnxruntime 2; CUDAExecutionProvider"
    assert [row.state for row in accelerators.accelerators(root, LISTED, usable)[2:]] == ["ok", "ok"]
    rows = accelerators.accelerators(root, LISTED)[2:]
    assert [row.state for row in rows] == ["problem", "problem"]
    assert "intel-opencl-icd" in rows[0].cure
    assert "onnxruntime-gpu" in rows[1].cure


# Boards and system

MEMORY = "MemTotal:        8000000 kB\nMemFree: 1 kB\nMemAvailable:    4000000 kB\n"


@pytest.mark.parametrize(
    ("model", "compatible", "family"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0\0", "raspberrypi,5-model-b\0brcm,bcm2712\0", "Raspberry Pi"),
        (
            "NVIDIA Jetson Orin Nano\0",
            "nvidia,p3768\0nvidia,tegra234\0",
            "Jetson; L4T R36 (release), REVISION: 3.0",
        ),
        ("ZynqMP ZCU104\0", "xlnx,zynqmp-zcu104\0xlnx,zynqmp\0", "Zynq UltraScale+"),
        ("Zynq Zed\0", "xlnx,zynq-zed\0xlnx,zynq-7000\0", "Zynq 7000"),
        ("Other\0", "fsl,imx8mp\0", "fsl,imx8mp"),
    ],
)
def test_a_board_is_known_by_its_device_tree(
    model: str, compatible: str, family: str, tmp_path: Path
) -> None:
    root = tree(tmp_path, {"proc/device-tree/model": model, "proc/device-tree/compatible": compatible})
    tree(root, {"proc/cpuinfo": "Features\t: fp asimd asimddp\n", "proc/meminfo": MEMORY})
    if "tegra" in compatible:
        tree(root, {"etc/nv_tegra_release": "# R36 (release), REVISION: 3.0, GCID: 1, BOARD: x\n"})
    board, processor, memory, fpga = boards.boards(root, "aarch64")
    assert (board.name, board.detail) == (model.rstrip("\0"), family)
    assert processor.name == "aarch64"
    assert processor.detail.endswith("asimd asimddp")
    assert memory.detail == "4096 of 8192 MB free"
    assert fpga.state == ("problem" if "xlnx" in compatible else "missing")


def test_a_machine_without_device_tree_is_known_by_its_firmware(tmp_path: Path) -> None:
    root = tree(
        tmp_path, {"sys/class/dmi/id/sys_vendor": "Maker\n", "sys/class/dmi/id/product_name": "Box\n"}
    )
    board, processor, memory, _ = boards.boards(root, "x86_64")
    assert (board.name, board.state) == ("Maker Box", "ok")
    assert (processor.state, memory.state) == ("problem", "problem")  # this kernel tells nothing


@pytest.mark.parametrize(("state", "found"), [("operating", "ok"), ("write error", "problem")])
def test_an_fpga_manager_says_how_its_device_is(state: str, found: str, tmp_path: Path) -> None:
    manager = {"name": "Xilinx Zynq FPGA Manager\n", "state": f"{state}\n"}
    root = tree(tmp_path, {f"sys/class/fpga_manager/fpga0/{name}": text for name, text in manager.items()})
    row = boards.boards(root)[-1]
    assert (row.name, row.state, row.detail) == ("fpga0", found, f"Xilinx Zynq FPGA Manager: {state}")


def test_the_disk_is_the_one_that_the_state_will_be_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "LEAST_FREE", 1)
    assert boards.disk(tmp_path / "not" / "yet").state == "ok"
    (tmp_path / "file").touch()
    assert boards.disk(tmp_path / "file").state == "problem"
    monkeypatch.setattr(boards, "LEAST_FREE", 1 << 62)
    assert "Free some space" in boards.disk(tmp_path).cure


def test_systemd_and_a_clock_that_can_be_believed(tmp_path: Path) -> None:
    assert [row.state for row in system(tmp_path, lambda: TIME_ERROR)] == ["missing", "problem"]
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert [row.state for row in system(tmp_path, lambda: 0)] == ["ok", "ok"]
    assert system(tmp_path, lambda: -1)[1].state == "problem"
    assert clock() in range(-1, TIME_ERROR + 1)


# Brokers


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """Play a broker that answers a client with `answer`, or with silence; give its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            peer = listener.accept()[0]
            with peer:
                peer.recv(1000)
                peer.sendall(answer)
                if not answer:
                    done.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        done.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x20\x02\x00\x01", "does not speak MQTT 5"),
        (b"\x20\x03\x00\x84\x00", "does not speak MQTT 5"),
        (b"\x20\x03\x00\x86\x00", "user name or password is wrong"),
        (b"\x20\x03\x00\x97\x00", "reason code 0x97"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no MQTT broker"),
        (b"\x20", "closes the connection"),
    ],
)
def test_what_answers_is_looked_at(answer: bytes, words: str) -> None:
    with server(answer) as url:
        row = broker(Broker(url=url))
    assert row.state == "problem"
    assert words in row.detail


def test_a_reason_code_is_read_behind_a_long_header() -> None:
    with server(b"\x20\x83\x01\x00\x00" + b"\0" * 129) as url:
        assert broker(Broker(url=url)).state == "ok"


def test_a_broker_that_is_silent_is_not_waited_for() -> None:
    begun_s = time.monotonic()
    with server(b"") as url:
        row = broker(Broker(url=url), timeout_s=0.2)
        assert time.monotonic() - begun_s < 2.0
    assert (row.state, row.detail) == ("problem", "no answer in time")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mqtt://127.0.0.1:1", "nothing listens there"),
        ("mqtt://nowhere.invalid", "its name is not known"),
        ("broker", "no address"),
        ("mqtt://host:port", "no address"),
        ("http://host", "no address"),
    ],
)
def test_an_address_without_a_broker_is_a_problem_with_a_cure(url: str, words: str) -> None:
    row = broker(Broker(url=url))
    assert (row.name, row.state) == (url, "problem")
    assert words in row.detail
    assert row.cure


def test_a_real_broker_with_tls(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    port = free_port()
    extra = [f"listener {port} 127.0.0.1", f"cafile {tmp_path}/ca.pem", "require_certificate true"]
    extra += [f"certfile {tmp_path}/server.pem", f"keyfile {tmp_path}/server.key"]
    cert, key = tmp_path / "client.pem", tmp_path / "client.key"
    with Mosquitto(tmp_path / "broker", extra=extra) as running:
        known = Broker(url=f"mqtts://127.0.0.1:{port}", ca=tmp_path / "ca.pem", cert=cert, key=key)
        row = broker(known)
        assert (row.state, row.detail.split(",")[0]) == ("ok", "MQTT 5 over TLSv1.3")
        stranger = broker(replace(known, cert=None, key=None))
        assert (stranger.state, "TLS failed" in stranger.detail) == ("problem", True)
        assert "certificate is not accepted" in broker(replace(known, ca=None)).detail
        for other in (f"mqtt://127.0.0.1:{port}", f"mqtts://127.0.0.1:{running.port}"):
            row = broker(replace(known, url=other))
            assert (row.state, "port" in row.cure) == ("problem", True)
        none = broker(replace(known, ca=tmp_path / "none.pem"))
        assert (none.state, none.cure) == ("problem", "Correct the files of [link]")


def test_a_real_broker_with_passwords(tmp_path: Path) -> None:
    users, mine = tmp_path / "users", tmp_path / "password"
    subprocess.run(["mosquitto_passwd", "-b", "-c", users, "line-1", "secret"], check=True)
    users.chmod(0o600)
    with Mosquitto(tmp_path / "broker", extra=[f"password_file {users}"]) as running:
        known = Broker(url=f"mqtt://127.0.0.1:{running.port}", username="line-1", password_file=mine)
        mine.write_text("secret\nmore\n")
        assert broker(known).detail.startswith("MQTT 5 over TCP")
        mine.write_text("guessed\n")
        row = broker(known)
        assert (row.state, "it refuses us" in row.detail) == ("problem", True)
        assert "password_file" in row.cure


def test_a_client_that_is_connected_stays_so(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as running, Listener(running.port) as listener:
        for _ in range(3):
            assert broker(Broker(url=f"mqtt://127.0.0.1:{running.port}")).state == "ok"
        assert listener.heard == []


# Children

FAULTS = """
import json, os, signal, sys, time
what = json.load(sys.stdin)["what"]
if what == "segfault": os.kill(os.getpid(), signal.SIGSEGV)
if what == "hang": time.sleep(60)
if what == "raise": raise ValueError("the driver is of another version")
if what == "exit": sys.exit(4)
print('[{"part": "x", "name": "y", "state": "ok"}]')
"""


def test_a_child_that_fails_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty_probe.py").write_text(FAULTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    kinds = ("fine", "segfault", "hang", "raise", "exit")
    # The time limit is only of the one that hangs: a busy machine may start the others slowly.
    probes = [
        Probe(part="runtime", name=kind, request={"what": kind}, timeout_s=1.0 if kind == "hang" else 60.0)
        for kind in kinds
    ]
    probes.append(Probe(part="runtime", name="other", request={}, python=str(tmp_path / "python")))
    fine, *failed = [rows[0] for rows in child.run(probes, "faulty_probe")]
    assert fine == Row(part="x", name="y", state="ok")
    assert [row.detail for row in failed] == [
        "it crashes: SIGSEGV",
        "it hangs: no answer in 1 s",
        "ValueError: the driver is of another version",
        "it ends with 4",
        f"{tmp_path}/python does not start: No such file or directory",
    ]
    assert {row.state for row in failed} == {"problem"}
    assert all(row.cure for row in failed)


def test_what_a_plug_in_prints_does_not_spoil_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(tmp_path, monkeypatch, "print('hello')\nimport os\nos.write(1, b'there')\n" + RUNTIME)
    request = {"probe": "plug_in", "group": plug_ins.RUNTIMES, "name": "parrot"}
    ((row,),) = child.run([Probe(part="runtime", name="parrot", request=request)])
    assert (row.name, row.state, row.detail) == ("parrot", "ok", "parrot 2.1")


# Plug-ins and needs

RUNTIME = "class Parrot:\n    exclusive = False\n    def load(self, files, options): ...\n"


def register(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Install a third party's runtime `parrot`, for this process and its children."""
    (folder / "parrot_runtime.py").write_text(code)
    info = folder / "parrot-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text("[outrider.runtimes]\nparrot = parrot_runtime:Parrot\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.delitem(sys.modules, "parrot_runtime", raising=False)


@pytest.mark.parametrize(
    ("code", "state", "words"),
    [
        (RUNTIME, "ok", "parrot 2.1"),
        ("import cockatoo\n" + RUNTIME, "missing", "cockatoo, which is not installed"),
        ("class Parrot: ...\n", "problem", "it lacks load and exclusive"),
        ("raise OSError('libparrot.so: cannot open')", "problem", "libparrot.so: cannot open"),
    ],
)
def test_a_third_partys_runtime_is_examined_too(
    code: str, state: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(tmp_path, monkeypatch, code)
    row = plug_ins.plug_in(plug_ins.RUNTIMES, "parrot")
    assert (row.part, row.name, row.state) == ("runtime", "parrot", state)
    assert words in row.detail


def test_a_plug_in_that_nobody_registered_is_missing() -> None:
    row = plug_ins.plug_in("outrider.policies", "oracle")
    assert (row.part, row.state) == ("policy", "missing")
    assert "rules" in row.cure


def choice(**more: object) -> Choice:
    return replace(Choice(pipeline="belt", variants={"a": "onnx", "b": "tflite"}), **more)


OK = Row(part="runtime", name="x", state="ok")
GONE = Row(part="runtime", name="x", state="missing", detail="no library", cure="pip install x")


@pytest.mark.parametrize(
    ("given", "runtimes", "state", "detail"),
    [
        (choice(), (OK, OK), "ok", "a, b can run"),
        (choice(), (GONE, OK), "ok", "b can run; not a: no library"),
        (choice(), (GONE, GONE), "missing", "a: no library; b: no library"),
        (choice(lacks={"b": "no avx2"}), (GONE, OK), "missing", "a: no library; b: no avx2"),
        (choice(fault="There is no bundle"), (OK, OK), "problem", "There is no bundle"),
    ],
)
def test_one_variant_that_can_run_is_enough(
    given: Choice, runtimes: tuple[Row, Row], state: str, detail: str
) -> None:
    row = judge(given, {("", "onnx"): runtimes[0], ("", "tflite"): runtimes[1]})
    assert (row.name, row.state, row.detail) == ("pipeline belt", state, detail)


def test_needs_are_read_from_a_configuration_with_faults(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(
        "device = 1\n[[pipelines]]\nid = 'a'\nsource = {kind = 'radar'}\nactions = ['x', {kind = 'log'}]\n"
        "bundle = 'none.orb'\nengine = 3\n[[pipelines]]\npolicy = 'rules'\n"
    )
    found = needs.needs(path)
    named = [(one.group, one.name) for one in found.plug_ins]
    assert named == [("outrider.actions", "log"), ("outrider.sources", "radar")]
    assert [one.fault for one in found.choices] == ["There is no bundle none.orb", "it names no bundle"]
    assert (found.broker, found.state_dir, found.runtimes()) == (None, None, ())
    with pytest.raises(UsageError):
        needs.needs(tmp_path / "none.toml")


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, dict[str, str]]:
    """Run the command; return its rows by name."""
    assert cli.main([*map(str, arguments), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    return {row["name"]: row for row in rows}


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys)
    for name in ("onnx", "tflite", "openvino", "null", "Edge TPU", "memory", "systemd", "clock"):
        assert name in found
    assert "CPUExecutionProvider" in found["onnx"]["detail"]
    assert "CPU" in found["openvino"]["detail"]
    assert "XNNPACK" in found["tflite"]["detail"]
    assert {row["state"] for row in found.values()} <= {"ok", "missing", "problem"}


def test_a_configuration_that_can_run_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 1)
    with Mosquitto(tmp_path / "broker") as running:
        url = f"mqtt://127.0.0.1:{running.port}"
        config = agents.write(tmp_path / "agent.toml", agents.document(tmp_path, url))
        found = run(capsys, "--config", config, "--broker", "mqtt://127.0.0.1:1")
    names = ("images", "rules", "mqtt", url, str(config), "pipeline belt")
    assert {name: found[name]["state"] for name in names} == dict.fromkeys(names, "ok")
    assert "GB free" in found[f"disk of {tmp_path}/state"]["detail"]
    assert found["mqtt://127.0.0.1:1"]["state"] == "problem"


def test_a_configuration_that_cannot_is_exit_code_3_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    null_bundle.write(tmp_path / "sorter.orb")
    source = {"kind": "radar"}
    config = agents.write(tmp_path / "agent.toml", agents.document(tmp_path, None, {"source": source}))
    with pytest.raises(OutriderError) as caught:
        cli.main(["--config", str(config)])
    assert caught.value.exit_code == 3
    assert "source radar: There is no 'radar' among the sources" in str(caught.value)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "radar" in shown


def test_a_runtime_that_crashes_is_found_and_the_rest_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(tmp_path, monkeypatch, "import os\nos.abort()\n")
    found = run(capsys)
    assert (found["parrot"]["state"], found["parrot"]["detail"]) == ("problem", "it crashes: SIGABRT")
    assert found["onnx"]["state"] == "ok"


BARE = """
import sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numpy", "cv2", "paho", "onnxruntime"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Bare())
"""


def test_a_machine_without_any_extra_is_examined_and_told_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BARE)
    null_bundle.write(tmp_path / "sorter.orb")
    config = agents.write(tmp_path / "agent.toml", agents.document(tmp_path, None))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    call = "import sys; from outrider_agent.doctor.cli import main; main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", call, "--json"], capture_output=True, check=True)
    found = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    for name in ("onnx", "null"):
        assert found[name]["state"] == "missing"
    assert found["onnx"]["cure"] == "Install it: pip install 'outrider[onnx]'"
    with pytest.raises(OutriderError) as caught:
        cli.main(["--config", str(config), "--json"])
    capsys.readouterr()
    assert caught.value.exit_code == 3
    assert "pipeline belt" in str(caught.value)
    assert "pip install 'outrider[" in str(caught.value)


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "outrider doctor --config agent.toml" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["--confog"]) == 2
