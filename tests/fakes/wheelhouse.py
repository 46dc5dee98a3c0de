"""A wheelhouse with a stand-in for Outrider in it: one wheel of five small files."""

import sys
import sysconfig
import zipfile
from pathlib import Path

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
ENTRY_POINTS = (
    "[console_scripts]\noutrider = outrider_bundle.dispatch:main\n\n[outrider.commands]\nagent = a:b\n"
)


def write(folder: Path, says: str, version: str = "9.9.9", *, updater: bool = False) -> Path:
    """Make `folder` a wheelhouse whose `outrider` prints `says`; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    info = f"outrider-{version}.dist-info"
    files = {
        "outrider_bundle/__init__.py": "",
        "outrider_bundle/dispatch.py": f"def main():\n    print({says!r})\n    return 0\n",
        "outrider_agent/__init__.py": "",
        "outrider_agent/cli.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: outrider\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": ENTRY_POINTS + ("updater = u:main\n" if updater else ""),
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"outrider-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name), text)  # without the time: the same bytes each time
    platform = sysconfig.get_platform().replace("-", "_")
    (folder / "wheelhouse.env").write_text(f"PYTHON_VERSION={VERSION}\nPLATFORMS={platform}\n")
    return folder
