"""The texts of the examples, put together."""

from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("image", "sensor", "control")
FOLDER = "@/"
"""In a text: the folder with what the example needs."""


def text(name: str, folder: Path | None = None) -> str:
    """Return the configuration of the example `name`.

    Args:
        name: one of `NAMES`.
        folder: where its files are; left out for the working directory.
    """
    whole = _read(name)
    for part in ("head", "tail"):
        whole = whole.replace(f"@@{part}\n", _read(part))
    whole = whole.replace("@@level", "debug" if name == "control" else "info")  # it decides 50 times a second
    return whole.replace(FOLDER, f"{_escaped(str(folder))}/" if folder else "")


def bundle(name: str) -> bytes:
    """Return the bundle of the example `name`."""
    return (HERE / f"{name}.orb").read_bytes()


def _read(name: str) -> str:
    return (HERE / f"{name}.toml").read_text(encoding="utf-8")


def _escaped(path: str) -> str:
    """Return `path` as it stands between quotes in TOML."""
    return "".join(
        f"\\{letter}" if letter in '"\\' else letter if letter.isprintable() else f"\\U{ord(letter):08x}"
        for letter in path
    )
