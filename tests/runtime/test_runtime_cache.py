import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from outrider_runtime import cpu
from outrider_runtime.cache import DRAFT, SUMS, Cache

FACTS = ("library", "1.0")


class Maker:
    """Writes one file and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, folder: Path) -> None:
        self.count += 1
        (folder / "made").write_bytes(b"made of it" * 100)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "graph").write_bytes(b"graph")
    (tmp_path / "weights").write_bytes(b"weights")
    return {"graph": tmp_path / "graph", "weights": tmp_path / "weights"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some" / "cache"


def test_it_is_made_once_and_found_again(folder: Path, files: dict[str, Path]) -> None:
    make = Maker()
    first = Cache(folder).entry(FACTS, files, make)
    assert first is not None
    assert (first / "made").read_bytes() == b"made of it" * 100
    assert Cache(folder).entry(FACTS, files, make) == first
    assert make.count == 1
    assert [path.name for path in folder.iterdir()] == [first.name]


def test_facts_content_roles_names_and_the_processor_count(
    folder: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, cache = Maker(), Cache(folder)
    entries = {cache.entry(FACTS, files, make), cache.entry(("library1.0", ""), files, make)}
    entries.add(cache.entry(FACTS, {"graph": files["graph"]}, make))
    (tmp_path / "other").write_bytes(b"weights")
    entries.add(cache.entry(FACTS, {**files, "weights": tmp_path / "other"}, make))
    files["weights"].write_bytes(b"weightS")
    entries.add(cache.entry(FACTS, files, make))
    monkeypatch.setattr(cpu, "identity", lambda: "another")
    entries.add(cache.entry(FACTS, files, make))
    assert None not in entries
    assert len(entries) == make.count == 6


@pytest.mark.parametrize("fault", ["changed", "cut", "gone", "more", "no sums", "sums changed"])
def test_what_is_damaged_is_made_again(
    folder: Path, files: dict[str, Path], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, cache = Maker(), Cache(folder)
    entry = cache.entry(FACTS, files, make)
    assert entry is not None
    made, sums = entry / "made", entry / SUMS
    if fault == "changed":
        made.write_bytes(b"made of It" + b"made of it" * 99)
    elif fault == "cut":
        os.truncate(made, 500)
    elif fault == "gone":
        made.unlink()
    elif fault == "more":
        (entry / "more").touch()
    elif fault == "no sums":
        sums.unlink()
    else:
        sums.write_bytes(b"\xff")
    assert cache.entry(FACTS, files, make) == entry
    assert make.count == 2
    assert made.read_bytes() == b"made of it" * 100
    assert "removed from the cache" in caplog.text
    assert len(list(folder.iterdir())) == 1


def test_the_one_used_longest_ago_goes_first(folder: Path, files: dict[str, Path]) -> None:
    make, cache = Maker(), Cache(folder, keep=3)
    entries = []
    for age, name in enumerate("abc"):
        entry = cache.entry((name,), files, make)
        assert entry is not None
        os.utime(entry, (1000 + age, 1000 + age))
        entries.append(entry)
    cache.entry(("a",), files, make)
    last = cache.entry(("d",), files, make)
    assert set(folder.iterdir()) == {entries[0], entries[2], last}
    assert make.count == 4


def test_others_files_stay_and_stale_drafts_go(folder: Path, files: dict[str, Path]) -> None:
    for name in ("mine", f"{DRAFT}old", f"{DRAFT}new"):
        (folder / name).mkdir(parents=True)
    long_ago = time.time() - 1e6
    for name in ("mine", f"{DRAFT}old"):
        os.utime(folder / name, (long_ago, long_ago))
    entry = Cache(folder, keep=1).entry(FACTS, files, Maker())
    assert set(folder.iterdir()) == {folder / "mine", folder / f"{DRAFT}new", entry}


@pytest.mark.parametrize("fault", ["make", "folder", "file", "processor"])
def test_what_cannot_be_kept_is_a_line_in_the_log(
    folder: Path,
    files: dict[str, Path],
    fault: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder.mkdir(parents=True)

    def full(_folder: Path) -> None:
        raise OSError(28, "No space left on device")

    if fault == "folder":
        folder = files["graph"] / "below a file"
    elif fault == "file":
        files["graph"].unlink()
    elif fault == "processor":
        monkeypatch.setattr(cpu, "identity", str)
    assert Cache(folder).entry(FACTS, files, full if fault == "make" else Maker()) is None
    assert caplog.text.count("Nothing is cached in") == 1
    assert fault == "folder" or not list(folder.iterdir())


def test_the_slower_of_two_takes_what_the_faster_made(folder: Path, files: dict[str, Path]) -> None:
    fast, made = Maker(), []

    def slow(draft: Path) -> None:
        made.append(Cache(folder).entry(FACTS, files, fast))
        (draft / "made").write_bytes(b"the same by others")

    entry = Cache(folder).entry(FACTS, files, slow)
    assert entry == made[0]
    assert entry is not None
    assert (entry / "made").read_bytes() == b"made of it" * 100
    assert list(folder.iterdir()) == [entry]


def test_many_at_once_agree(folder: Path, files: dict[str, Path]) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: Cache(folder).entry(FACTS, files, Maker()), range(40)))
    assert len(set(found)) == 1
    assert found[0] is not None
    assert (found[0] / "made").read_bytes() == b"made of it" * 100
    assert list(folder.iterdir()) == [found[0]]


AS_NOBODY = """
import os, sys
from pathlib import Path
from outrider_runtime.cache import Cache
folder, graph = map(Path, sys.argv[1:])
os.setuid(65534)
print(Cache(folder).entry(("library", "1.0"), {"graph": graph}, lambda _: print("made")))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_may_only_be_read_still_gives_what_it_has(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents[:-2]):
        parent.chmod(0o755)
    folder, graph = tmp_path / "cache", tmp_path / "graph"
    graph.write_bytes(b"graph")
    entry = Cache(folder).entry(FACTS, {"graph": graph}, Maker())
    assert entry is not None
    entry.chmod(0o755)
    command = [sys.executable, "-c", AS_NOBODY, str(folder), str(graph)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(entry)]
    entry.chmod(0o700)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None"]
    assert "Nothing is cached" in done.stderr


X86 = """processor\t: {at}
vendor_id\t: AuthenticAMD
model name\t: EPYC
cpu MHz\t\t: {mhz}
flags\t\t: fpu avx2

"""
ARM = """processor\t: {at}
BogoMIPS\t: 108.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU part\t: {part}

"""


def test_a_processor_is_its_models_and_instruction_sets(tmp_path: Path) -> None:
    def said(text: str) -> str:
        (tmp_path / "cpuinfo").write_text(text)
        return cpu.identity(tmp_path / "cpuinfo")

    one = said("".join(X86.format(at=at, mhz=2000 + at) for at in range(2)))
    assert "flags: fpu avx2" in one
    assert one == said("".join(X86.format(at=at, mhz=900) for at in range(4)))
    assert one != said(X86.format(at=0, mhz=900).replace("avx2", "avx2 avx512f"))
    small, big = ARM.format(at=0, part="0xd05"), ARM.format(at=4, part="0xd0b")
    assert said(small + big) == said(big + small + small)
    assert len({said(small), said(big), said(small + big), one}) == 4
    assert said("nothing: of use\n") == ""
    assert cpu.identity(tmp_path / "nowhere") == ""
    assert cpu.identity()
