import math
from pathlib import Path

import msgspec
import pytest

from outrider_bundle import bars
from outrider_bundle.errors import OutriderError


def row(value: float, sense: str, limit: float) -> bars.Row:
    return bars.Row(id="demo.x", value=value, sense=sense, limit=limit, unit="points", how="counted")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "sense", "limit", "ok"),
    [
        (1.0, "<=", 1.0, True),
        (1.1, "<=", 1.0, False),
        (1.0, ">=", 1.0, True),
        (0.9, ">=", 1.0, False),
        (0.0, "==", 0.0, True),
        (1.0, "==", 0.0, False),
        (math.nan, "<=", 1.0, False),
        (math.inf, ">=", 1.0, False),
    ],
)
def test_a_row_keeps_its_limit_or_not(value: float, sense: str, limit: float, ok: bool) -> None:  # noqa: FBT001 - a table column
    assert row(value, sense, limit).ok is ok


def test_a_proof_file_has_the_published_form(tmp_path: Path) -> None:
    path = bars.write("demo", [row(0.5, "<=", 1.0)], tmp_path)
    document = msgspec.json.decode(path.read_bytes())
    assert document["schema"] == 1
    assert document["machine"]["cores"] >= 1
    assert document["rows"] == [
        {
            "id": "demo.x",
            "value": 0.5,
            "sense": "<=",
            "limit": 1.0,
            "unit": "points",
            "how": "counted",
            "ok": True,
        }
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["demo.json"]


def test_a_missed_bar_fails_the_table_even_if_the_file_says_ok(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bars.write("demo", [row(2.0, "<=", 1.0)], tmp_path)
    path.write_text(path.read_text().replace('"ok": false', '"ok": true'))
    assert bars.main(tmp_path) == 1
    assert "demo.x" in capsys.readouterr().out


def test_met_bars_pass_and_no_bars_fail(tmp_path: Path) -> None:
    assert bars.main(tmp_path) == 1
    bars.write("demo", [row(0.5, "<=", 1.0)], tmp_path)
    assert bars.main(tmp_path) == 0


def test_a_broken_proof_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(OutriderError, match=r"demo\.json is not a proof file"):
        bars.main(tmp_path)


def test_a_value_that_is_no_number_can_be_written_and_read_and_keeps_no_bar(tmp_path: Path) -> None:
    path = bars.write("demo", [row(math.nan, "<=", 1.0), row(0.5, "<=", 1.0)], tmp_path)
    spoiled, sound = bars.read(path).rows
    assert (spoiled.ok, spoiled.shown) == (False, "-")
    assert (sound.ok, sound.shown) == (True, "0.5")
