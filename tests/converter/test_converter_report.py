"""The page shows what the document holds, and nothing in it can become markup."""

import msgspec
from msgspec.structs import replace

from outrider_bundle.bars import Machine
from outrider_converter.latency import Latency
from outrider_converter.records import Decision, LeftOut, PruneProof, Saturated, Stage
from outrider_converter.report import (
    DataReport,
    Report,
    TargetReport,
    TeacherReport,
    VariantReport,
    encode,
    render,
)

VARIANT = VariantReport(
    id="onnx-int8",
    runtime="onnx",
    precision="int8",
    rank=0,
    accuracy=0.9,
    low=0.88,
    high=0.92,
    validation=0.91,
    validation_low=0.9,
    validation_high=0.92,
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
        validation_low=0.92,
        validation_high=0.94,
        bytes=1_072_589,
        params=261_298,
        macs=20_500_000,
        classes=(0.9, None),
        latency={"onnx": Latency(min_ms=0.4, p50_ms=0.5)},
    ),
    stages=(
        Stage(
            name="distill", seconds=12.34, params=1, macs=2, accuracy=0.5, low=0.4, high=0.6, note="8 epochs"
        ),
    ),
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


def test_what_was_found_out_on_the_way_is_on_the_page() -> None:
    fast, slow = Latency(min_ms=0.2, p50_ms=0.25), Latency(min_ms=0.4, p50_ms=0.5)
    proof = PruneProof(
        macs_before=2_000_000,
        macs_after=1_000_000,
        params_before=10_000,
        params_after=5_000,
        bytes_before=41_000,
        bytes_after=21_000,
        latency_before=slow,
        latency_after=fast,
        faster=1.93,
    )
    variant = replace(
        VARIANT, cosine=0.98765, kernel="int8 kernels, avx2", isa=("asimd",), float_layers=("stem", "head")
    )
    page = render(
        replace(
            REPORT,
            variants=(variant,),
            budget_cosine=0.97,
            pruning=proof,
            decisions=(Decision(step="search", text="temperature 4 <of> three"),),
            saturation=(Saturated(id="onnx-int8", layer="conv1", share=0.012, note="on Haswell"),),
            targets=(
                TargetReport(name="rpi5", title="A board", figures="unknown", note="nobody has run it"),
            ),
        )
    )
    for text in (
        "0.9877",
        "int8 kernels, avx2",
        "only on CPUs with asimd",
        "back in float: stem, head",
        "median cosine of at least 0.97",
        "1.93",
        "2,000,000",
        "temperature 4 &lt;of&gt; three",
        "conv1",
        "1.20 %",
        "nobody has run it",
    ):
        assert text in page, text
    plain = render(REPORT)
    assert not any(f"<h2>{head}" in plain for head in ("Pruning", "Decisions", "Saturation", "Targets"))


def test_the_heads_say_what_was_measured() -> None:
    assert "<th>Accuracy</th>" in render(REPORT)
    agreement = render(replace(REPORT, metric="agreement"))
    assert "<th>Agreement</th>" in agreement
    assert "There are no labels" in agreement
    assert "Accuracy" not in agreement
    bare = replace(REPORT.data, labels=())
    raw = render(replace(REPORT, metric="cosine", data=bare, variants=(replace(VARIANT, classes=()),)))
    assert "<th>Cosine</th>" in raw
    assert "By class" not in raw
    assert "Accuracy" not in raw
