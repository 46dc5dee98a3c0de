"""The page shows what the document holds, and nothing in it can become markup."""

import msgspec
from msgspec.structs import replace

from outrider_bundle.bars import Machine
from outrider_converter.latency import Latency
from outrider_converter.records import LeftOut, Stage
from outrider_converter.report import DataReport, Report, TeacherReport, VariantReport, encode, render

VARIANT = VariantReport(
    id="onnx-int8",
    runtime="onnx",
    precision="int8",
    rank=0,
    accuracy=0.9,
    low=0.88,
    high=0.92,
    validation=0.91,
    drop=2.5,
    bytes=52_437,
    files={"onnx-int8-graph": 6_000, "onnx-int8-weights": 46_437},
    params=36_298,
    macs=2_720_192,
    latency=Latency(min_ms=0.09, p50_ms=0.1),
    speedup_vs_teacher=None,
    agreement_with_teacher=0.93,
    classes=(0.8, None),
)
REPORT = Report(
    name="cats",
    version="1.2.3",
    seed=7,
    budget=3.0,
    data=DataReport(name="<pets> & co", labels=("cat", "<b>dog</b>"), train=10, validation=5, test=5),
    teacher=TeacherReport(
        accuracy=0.925,
        low=0.9,
        high=0.95,
        validation=0.93,
        bytes=1_072_589,
        params=261_298,
        macs=20_500_000,
        classes=(0.9, None),
        latency={"onnx": Latency(min_ms=0.4, p50_ms=0.5)},
    ),
    stages=(Stage(name="distill", seconds=12.34, params=1, macs=2, accuracy=0.5, note="8 epochs"),),
    variants=(VARIANT,),
    left_out=(LeftOut(id="tflite-int8", reason="5.10 points under the teacher"),),
    bundle=None,
    machine=Machine(cpu="Test CPU", isa=("avx2",), cores=2),
    versions={"torch": "2.13"},
    seconds=61.0,
    recipe='name = "cats"',
)


def test_everything_that_matters_is_on_the_page() -> None:
    page = render(REPORT)
    for text in (
        "90.00 %",
        "88.00 %",
        "2.50",
        "52.4",
        "2,720,192",
        "8 epochs",
        "5.10 points",
        "Test CPU",
        "avx2",
    ):
        assert text in page, text
    assert "onnx-int8 (default)" in page
    assert "None was written" in page


def test_names_are_text_and_never_markup() -> None:
    page = render(REPORT)
    assert "<b>dog</b>" not in page
    assert "&lt;b&gt;dog&lt;/b&gt;" in page
    assert "&lt;pets&gt; &amp; co" in page


def test_without_losses_there_is_no_such_section() -> None:
    assert "Left out" in render(REPORT)
    assert "Left out" not in render(replace(REPORT, left_out=()))


def test_the_document_reads_back_and_has_what_a_summary_needs() -> None:
    raw = encode(REPORT)
    assert msgspec.json.decode(raw, type=Report) == REPORT
    plain = msgspec.json.decode(raw)
    assert plain["schema"] == 1
    assert {"accuracy", "bytes", "params", "macs"} <= set(plain["teacher"])
    wanted = {"id", "runtime", "accuracy", "bytes", "macs", "speedup_vs_teacher", "agreement_with_teacher"}
    assert wanted <= set(plain["variants"][0])
