"""Accelerators on the buses, and the libraries that bring them to a runtime."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from outrider_agent import sysfs
from outrider_agent.doctor.row import Row

EDGETPU = "libedgetpu.so.1"
DELEGATES = {
    EDGETPU: "Coral Edge TPU",
    "libarmnnDelegate.so": "Arm NN",
    "libethosu_delegate.so": "Arm Ethos-U",
    "libvx_delegate.so": "NXP i.MX 8, VeriSilicon",
    "libQnnTFLiteDelegate.so": "Qualcomm AI Engine",
}
"""External delegates of TensorFlow Lite that makers ship, by the name they are loaded with."""

USB_IDS = {("1a6e", "089a"), ("18d1", "9302")}
"""The Coral stick before and after its first use: then it has got its firmware."""
PCI_ID = ("0x1ac1", "0x089a")
INTEL, DISPLAY = "0x8086", "0x03"

LIBRARY_CURE = (
    "Install its library: sudo apt-get install libedgetpu1-std (repository: coral.ai/docs/accelerator)"
)
DRIVER_CURE = "Install its driver: sudo apt-get install gasket-dkms (repository: coral.ai/docs/m2)"
GROUP_CURE = "sudo usermod -aG plugdev,apex $USER, then log in again"
INTEL_CURE = "For openvino: sudo apt-get install intel-opencl-icd; sudo usermod -aG render $USER"
NVIDIA_CURE = "For onnx: pip install onnxruntime-gpu in place of onnxruntime"


def libraries() -> str:
    """Return what the dynamic linker knows, as `ldconfig -p` lists it; empty where there is none."""
    for program in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            done = subprocess.run([program, "-p"], capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        return done.stdout
    return ""


def accelerators(root: Path = sysfs.ROOT, known: str | None = None, usable: str = "") -> list[Row]:
    """Return rows for delegates, the Edge TPU and GPUs.

    Args:
        root: of sysfs and devices.
        known: what `libraries` says; asked if None.
        usable: providers and devices that the runtimes name.
    """
    listed = libraries() if known is None else known
    names = {line.split()[0] for line in listed.splitlines() if "=>" in line}
    rows = [_edgetpu(root, library=EDGETPU in names)]
    for library, what in DELEGATES.items():
        if library in names and library != EDGETPU:
            rows.append(Row(part="accelerator", name=library, state="ok", detail=f"delegate for {what}"))
    return rows + list(_gpus(root, usable))


def _edgetpu(root: Path, *, library: bool) -> Row:
    nodes, driverless = _edgetpu_nodes(root)
    have = f"{EDGETPU} is there" if library else f"no {EDGETPU}"
    if not nodes and not driverless:
        cure = "" if library else LIBRARY_CURE
        detail = f"no device on USB or PCIe; {have}"
        return Row(part="accelerator", name="Edge TPU", state="missing", detail=detail, cure=cure)
    places = ", ".join(f"/{node.relative_to(root)}" for node in nodes)
    detail = f"{places or 'a PCIe device without /dev/apex_0'}; {have}"
    shut = [node for node in nodes if node.exists() and not os.access(node, os.R_OK | os.W_OK)]
    cures = [DRIVER_CURE] if driverless else []
    cures += [] if library else [LIBRARY_CURE]
    cures += [GROUP_CURE] if shut else []
    return Row(
        part="accelerator",
        name="Edge TPU",
        state="problem" if cures else "ok",
        detail=detail,
        cure="; ".join(cures),
    )


def _edgetpu_nodes(root: Path) -> tuple[list[Path], bool]:
    """Return the device files of all sticks and cards, and whether there is a card without one."""
    nodes = list(sysfs.found(root / "dev", "apex_[0-9]*"))
    cards = [
        card
        for card in sysfs.found(root / "sys/bus/pci/devices", "*")
        if (sysfs.read(card / "vendor"), sysfs.read(card / "device")) == PCI_ID
    ]
    driverless = bool(cards) and not nodes
    for stick in sysfs.found(root / "sys/bus/usb/devices", "*"):
        if (sysfs.read(stick / "idVendor"), sysfs.read(stick / "idProduct")) in USB_IDS:
            numbers = [sysfs.read(stick / name).zfill(3) for name in ("busnum", "devnum")]
            nodes.append(root / "dev/bus/usb" / numbers[0] / numbers[1])
    return nodes, driverless


def _gpus(root: Path, usable: str) -> Iterator[Row]:
    for device in sysfs.found(root / "sys/bus/pci/devices", "*"):
        display = sysfs.read(device / "class").startswith(DISPLAY)
        if display and sysfs.read(device / "vendor") == INTEL:
            yield _gpu("Intel GPU", device.name, "GPU" if "GPU" in usable else "", INTEL_CURE)
    if version := sysfs.read(root / "proc/driver/nvidia/version"):
        provider = "CUDAExecutionProvider"
        yield _gpu("NVIDIA GPU", version[:60], provider if provider in usable else "", NVIDIA_CURE)


def _gpu(name: str, what: str, reached_as: str, cure: str) -> Row:
    if reached_as:
        return Row(
            part="accelerator", name=name, state="ok", detail=f"{what}; a runtime has it as {reached_as}"
        )
    detail = f"{what}; no runtime can use it"
    return Row(part="accelerator", name=name, state="problem", detail=detail, cure=cure)
