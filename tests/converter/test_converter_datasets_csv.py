"""Tables become rows or windows; nothing crosses a border, nothing is in two parts."""

from pathlib import Path

import numpy as np
import pytest

from outrider_bundle.errors import DataError, UsageError
from outrider_converter.dataset import Dataset, load_dataset
from outrider_converter.datasets.windows import cut, stretches
from outrider_converter.recipe import WindowOptions, read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.students import build_student
from tests.fakes.toy import write_toy

PARTS = ("train", "validation", "test")


def load(folder: Path, data: str, *, length: int = 0, channels: int = 2) -> Dataset:
    """Load with windows of `length` rows, or without."""
    shape, layout = (f"[1, {channels}, {length}]", "NCT") if length else (f"[1, {channels}]", "NC")
    family = "ds-cnn-1d" if length else "mlp"
    path = write_toy(
        folder,
        ('callable = "data:split"\nlabels = "data:LABELS"', data),
        ("shape = [1, 1, 12, 12]", f"shape = {shape}"),
        ('layout = "NCHW"', f'layout = "{layout}"'),
        ('kind = "image"\ncolor = "gray"', 'kind = "array"'),
        ("shift = 1\n", ""),
        ('family = "res-cnn"', f'family = "{family}"'),
    )
    return load_dataset(read_recipe(path), folder)


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def series(label: str, who: str, rows: int, start: int = 0) -> list[str]:
    """Rows whose first channel counts on, so that a window tells where it was cut."""
    return [f"{start + i},{-i},{label},{who}" for i in range(rows)]


HEADER = "x,y,kind,who"


def test_a_row_is_a_sample(tmp_path: Path) -> None:
    rows = [f"{i},{i * 2},{'ab'[i % 2]},p{i % 5}" for i in range(40)]
    write(tmp_path / "d.csv", HEADER, *rows)
    data = load(tmp_path, 'csv = "d.csv"\ntarget = "kind"\ncolumns = ["y", "x"]')
    assert data.labels == ("a", "b")
    assert [len(getattr(data, part)) for part in PARTS] == [32, 4, 4]
    for part in PARTS:
        split = getattr(data, part)
        assert (split.frames[:, 0] == 2 * split.frames[:, 1]).all()
        assert (split.frames[:, 1] % 2 == split.labels).all()
    assert data.train.prepared.shape == (32, 2)


def test_columns_of_numbers_are_found(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", "name,x,y,kind", *[f"n{i},{i},{i},{i % 3}" for i in range(30)])
    data = load(tmp_path, 'csv = "d.csv"\ntarget = "kind"')
    assert data.labels == ("0", "1", "2")
    assert data.train.frames.shape[1:] == (2,)


def test_numbers_as_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", HEADER, *[f"1,2,{(2, 10, 1)[i % 3]},p" for i in range(30)])
    assert load(tmp_path, 'csv = "d.csv"\ntarget = "kind"').labels == ("1", "2", "10")


def test_windows_stay_inside_file_group_and_class(tmp_path: Path) -> None:
    first = series("a", "p", 10) + series("b", "p", 7, 100) + series("b", "q", 9, 200)
    write(tmp_path / "one.csv", HEADER, *first)
    write(tmp_path / "two.csv", HEADER, *series("b", "q", 6, 300), *series("b", "r", 6, 400))
    window = "[data.window]\nlength = 4\nstride = 3"
    data = load(tmp_path, f'csv = "*.csv"\ntarget = "kind"\ngroup = "who"\n{window}', length=4)
    starts = sorted(int(f[0, 0]) for part in PARTS for f in getattr(data, part).frames)
    assert starts == [0, 3, 6, 100, 103, 200, 203, 300, 400]
    for part in PARTS:
        split = getattr(data, part)
        assert (np.diff(split.frames[:, 0], axis=1) == 1).all()
        assert (split.labels == (split.frames[:, 0, 0] >= 100)).all()
        assert split.prepared.shape[1:] == (2, 4)


def test_groups_are_left_out_whole(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", HEADER, *[f"{i % 6},0,{'ab'[i % 2]},p{i % 6}" for i in range(60)])
    found = load(tmp_path, 'csv = "d.csv"\ntarget = "kind"\ngroup = "who"')
    seen = [set(getattr(found, part).frames[:, 0].tolist()) for part in PARTS]
    assert sum(map(len, seen)) == 6
    assert all(seen)
    told = load(
        tmp_path,
        'csv = "d.csv"\ngroup = "who"\ntest_groups = ["p2", "p5"]\nvalidation_groups = ["p0"]\n'
        'target = "kind"',
    )
    assert set(told.test.frames[:, 0].tolist()) == {2.0, 5.0}
    assert set(told.validation.frames[:, 0].tolist()) == {0.0}
    assert len(told.train) == 30


def test_windows_that_share_rows_stay_together(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", HEADER, *series("a", "p", 900), *series("b", "p", 900, 1000))
    window = "[data.window]\nlength = 10\nstride = 2"
    data = load(tmp_path, f'csv = "d.csv"\ntarget = "kind"\n{window}', length=10)
    seen = [set(getattr(data, part).frames[:, 0].reshape(-1).tolist()) for part in PARTS]
    assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]
    assert all(set(getattr(data, part).labels.tolist()) == {0, 1} for part in PARTS)


def test_unlabelled_rows(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", "x,y", *[f"{i},{i}" for i in range(30)])
    data = load(tmp_path, 'csv = "d.csv"\nclasses = ["a", "b"]')
    assert data.metric == "agreement"
    assert set(data.train.labels.tolist()) == {-1}


def test_a_row_without_its_class_is_named(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", HEADER, *[f"{i},0,{'ab'[i % 2]},p" for i in range(20)], "20,0, ,p")
    with pytest.raises(DataError, match=r"Row 22 of .* has nothing in the column 'kind'\. Give its class"):
        load(tmp_path, 'csv = "d.csv"\ntarget = "kind"\ncolumns = ["x"]', channels=1)


def test_runs_and_their_windows() -> None:
    keys = [np.array([0] * 5 + [1] * 20)]
    values = np.arange(50, dtype=np.float32).reshape(25, 2)
    options = WindowOptions(length=2, stride=1)
    runs = stretches(keys, options)
    assert runs == [(0, 5), (5, 13), (13, 21), (21, 25)]
    windows, first, unit = cut(values, runs, options)
    assert first.tolist() == [*range(4), *range(5, 12), *range(13, 20), *range(21, 24)]
    assert unit.tolist() == [0] * 4 + [1] * 7 + [2] * 7 + [3] * 3
    assert (windows[0] == [[0, 2], [1, 3]]).all()
    apart = WindowOptions(length=2, stride=2)
    assert stretches(keys, apart) == [(0, 5), (5, 25)]
    assert cut(values, stretches(keys, apart), apart)[2].tolist() == list(range(12))
    with pytest.raises(DataError, match="A window has 50 rows, and the longest run"):
        cut(values, runs, WindowOptions(length=50, stride=1))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["x,y,kind", "1,2,a", "1,nan,b"], "Row 3 of {} has 'nan' in column 'y'"),
        (["x,y,kind", "1,2,a", "1,,b"], "Row 3 of {} has '' in column 'y'"),
        (["x,y,kind", "1,2,a", "", "oops,2,b"], "Row 4 of {} has 'oops' in column 'x'"),
        (["x,y,kind", "1,inf,a"], "Row 2 of {} has 'inf' in column 'y'"),
        (["x,y,kind", "1,2,a", "1,2"], "Row 3 of {} has 2 cells, its header 3"),
        (["x,y,kind", "1,2,a,9"], "Row 2 of {} has 4 cells, its header 3"),
        (["x,y,other", "1,2,a"], "{} has no column 'kind'. It has: x, y, other"),
        (["x,x,kind", "1,2,a"], "{} has the column 'x' twice"),
        (["x,y,kind"], "{} holds no rows"),
        ([""], "{} holds no rows"),
        (["name,kind", "one,a"], "{} has no column of numbers"),
        (["x,y,kind", '"1,2,a'], "{} cannot be read"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, lines: list[str], said: str) -> None:
    write(tmp_path / "d.csv", *lines)
    with pytest.raises(DataError) as caught:
        load(tmp_path, 'csv = "d.csv"\ntarget = "kind"')
    assert said.format(tmp_path / "d.csv") in str(caught.value)


def test_a_file_of_other_columns_and_other_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "x,y,kind", "1,2,a")
    write(tmp_path / "b.csv", "x,z,kind", "1,2,a")
    with pytest.raises(DataError, match=r"b\.csv has no column 'y'"):
        load(tmp_path, 'csv = "*.csv"\ntarget = "kind"')
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(DataError, match=r"b\.csv cannot be read"):
        load(tmp_path, 'csv = "*.csv"\ntarget = "kind"')
    with pytest.raises(DataError, match=r"There is no file c\.csv"):
        load(tmp_path, 'csv = "c.csv"')


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        ('test_groups = ["p1"]', UsageError, "Give data.group"),
        ('group = "who"\ntest_groups = ["p9"]', DataError, "There is no group 'p9'. There are: p0, p1"),
        ('group = "who"\ntest_groups = ["p1"]\nvalidation_groups = ["p1"]', DataError, "for two parts"),
        ('group = "who"', DataError, "2 groups cannot fill"),
        ('classes = ["a"]', DataError, "Column 'kind' has the class 'b'"),
    ],
)
def test_groups_and_classes_that_do_not_fit(
    tmp_path: Path, data: str, kind: type[Exception], said: str
) -> None:
    write(tmp_path / "d.csv", HEADER, *[f"1,2,{'ab'[i % 2]},p{i % 2}" for i in range(20)])
    with pytest.raises(kind, match=said):
        load(tmp_path, f'csv = "d.csv"\ntarget = "kind"\n{data}')


def test_the_students_of_tables_and_windows_take_them(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", HEADER, *series("a", "p", 300), *series("b", "p", 300))
    load(tmp_path, 'csv = "d.csv"\ntarget = "kind"\n[data.window]\nlength = 24\nstride = 24', length=24)
    recipe = read_recipe(tmp_path / "recipe.toml")
    data = load_dataset(recipe, tmp_path)
    student = build_student(recipe, 2, tmp_path)
    assert student(data.validation.prepared).shape == (len(data.validation), 2)
    with pytest.raises(DataError, match="does not take an input of shape"):
        load_teacher(recipe, 2, tmp_path)
