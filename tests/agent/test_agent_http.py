import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from outrider_agent import parts
from outrider_agent.actions.http import HttpAction
from outrider_agent.seams import Context, NullPublisher
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics
from tests.fakes import certificates
from tests.fakes.webhook import Webhook

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())


def event(seq: int = 0, **data: Any) -> Event:  # noqa: ANN401 - what a policy puts there
    return Event(run="0" * 16, seq=seq, time=1.5, pipeline="belt", kind="decision", frame="f1", data=data)


def act(url: str, **options: Any) -> HttpAction:  # noqa: ANN401 - of the action
    part, faults = parts.find(parts.ACTIONS, {"kind": "http", "url": url, **options}, "actions[0]")
    assert part is not None, faults
    action = parts.action(part, CONTEXT)
    assert isinstance(action, HttpAction)
    return action


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with Webhook() as webhook:
        yield webhook


def told(action: HttpAction) -> str:
    """Return the fault as soon as the action tells one."""
    end_s = monotonic() + 10
    while monotonic() < end_s:
        try:
            action._worker.check()
        except OutriderError as error:
            return str(error)
        threading.Event().wait(0.005)
    raise AssertionError("there was no fault")


def test_a_decision_arrives_as_flat_json(hook: Webhook) -> None:
    action = act(hook.url, method="PUT", headers={"X-Line": "7"})
    action.apply(event(3, label="bag", run="its own"))
    (request,) = hook.wait(1)
    assert request == {
        "label": "bag",
        "run": "0" * 16,
        "seq": 3,
        "time": 1.5,
        "pipeline": "belt",
        "frame": "f1",
    }
    assert hook.methods == ["PUT"]
    assert (hook.headers[0]["X-Line"], hook.headers[0]["Content-Type"]) == ("7", "application/json")
    action.close()


def test_requests_share_a_connection_and_keep_their_order(hook: Webhook) -> None:
    action = act(hook.url)
    for seq in range(20):
        action.apply(event(seq))
    assert [request["seq"] for request in hook.wait(20)] == list(range(20))
    assert hook.connections == 1
    action.close()


def test_a_connection_that_was_closed_meanwhile_is_opened_anew_at_once(hook: Webhook) -> None:
    action = act(hook.url, retries=0)
    action.apply(event(0))
    hook.wait(1)
    with Webhook(port=hook.restart()) as again:
        action.apply(event(1))
        again.wait(1)
        action.close()


def test_a_server_fault_is_tried_again(hook: Webhook) -> None:
    hook.statuses = [503, 429, 204]
    action = act(hook.url)
    action.apply(event(5))
    assert [request["seq"] for request in hook.wait(3)] == [5, 5, 5]
    action.close()
    action._worker.check()


@pytest.mark.parametrize(("status", "count"), [(404, 1), (302, 1), (500, 2)])
def test_what_is_refused_is_a_fault_after_as_many_tries_as_make_sense(
    hook: Webhook, status: int, count: int
) -> None:
    hook.statuses = [status] * count
    action = act(hook.url, retries=1)
    action.apply(event(0))
    assert f"The webhook at 127.0.0.1 answers {status}" in told(action)
    assert len(hook.requests) == count
    with pytest.raises(OutriderError):
        action.apply(event(1))
    hook.wait(count + 1)
    action.close()
    action._worker.check()  # that worked


def test_nobody_there_is_a_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    action = act(f"http://127.0.0.1:{port}/", retries=0)
    action.apply(event(0))
    assert "cannot be reached" in told(action)
    action.close()


def test_silence_is_a_fault_and_the_loop_does_not_wait_for_it(hook: Webhook) -> None:
    hook.silent = True
    action = act(hook.url, timeout_s=0.2, retries=0, queue=2)
    begun_s = monotonic()
    action.apply(event(0))
    hook.wait(1)
    action.apply(event(1))
    action.apply(event(2))
    with pytest.raises(OutriderError, match="1 decisions are lost"):
        action.apply(event(3))
    assert monotonic() - begun_s < 0.2
    assert "does not answer" in told(action)
    action.close()


def test_an_answer_that_drips_is_broken_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        action = act(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_s=0.2, retries=0)
        action.apply(event(0))
        connection, _ = server.accept()
        done = threading.Event()

        def drip() -> None:
            while not done.wait(0.02):
                try:
                    connection.send(b"H")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        end_s = monotonic() + 10
        while thread.is_alive():  # the loop goes on deciding
            assert monotonic() < end_s
            try:
                action.apply(event(1))
            except OutriderError:
                break
            thread.join(0.05)
        done.set()
        thread.join(10)
        connection.close()
        told(action)
    action.close()


@pytest.mark.parametrize("kept", [False, True])
def test_the_safe_state_goes_before_what_hangs_and_what_waits(hook: Webhook, *, kept: bool) -> None:
    action = act(hook.url, timeout_s=30.0, safe={"stop": True})
    if kept:
        action.apply(event(0))
        hook.wait(1)
    hook.silent = True
    for seq in range(1, 6):
        action.apply(event(seq))
    hook.wait(1 + kept)
    hook.silent = False
    begun_s = monotonic()
    action.safe_state()
    *_, last, safe = hook.wait(2 + kept)
    assert monotonic() - begun_s < 2.0
    action.close()
    assert (last["seq"], safe) == (1, {"stop": True})
    assert (len(hook.requests), hook.connections) == (2 + kept, 2)


def test_the_safe_state_is_sent_until_it_arrives(hook: Webhook) -> None:
    hook.statuses = [500, 500]
    action = act(hook.url, safe={"stop": True})
    action.safe_state()
    assert hook.wait(3) == [{"stop": True}] * 3
    action.close()
    assert len(hook.requests) == 3


def test_without_a_safe_state_what_waits_is_sent(hook: Webhook) -> None:
    action = act(hook.url)
    for seq in range(5):
        action.apply(event(seq))
    action.safe_state()
    action.close()
    assert [request["seq"] for request in hook.requests] == list(range(5))


def test_the_end_does_not_wait_for_a_webhook_that_hangs(hook: Webhook) -> None:
    hook.silent = True
    action = act(hook.url, timeout_s=30.0, safe={"stop": True})
    action.safe_state()
    hook.wait(1)
    begun_s = monotonic()
    action.close()
    assert monotonic() - begun_s < 5.0


def test_the_token_is_read_for_every_request_and_never_told(
    hook: Webhook, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "token"
    path.write_text("first-secret\n")
    action = act(hook.url, token_file=str(path), retries=0)
    action.apply(event(0))
    hook.wait(1)
    path.write_text("second-secret\nmore\n")
    hook.statuses = [401]
    action.apply(event(1))
    fault = told(action)
    path.write_text("third secret\n")
    with pytest.raises(OutriderError):
        action.apply(event(2))
    while "holds no token" not in (other := told(action)):
        threading.Event().wait(0.005)
    action.close()
    sent = [headers["Authorization"] for headers in hook.headers]
    assert sent == ["Bearer first-secret", "Bearer second-secret"]
    assert "secret" not in fault + other + caplog.text


@pytest.mark.parametrize("text", [None, b"", b"\n", b"two words\n", b"\xff\xfe"])
def test_a_token_that_is_none_is_refused_at_once(tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(UsageError, match="token_file"):
        act("http://127.0.0.1:9/", token_file=str(path))


def test_it_trusts_the_given_authority_and_no_other(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with Webhook(tls) as hook:
        trusting = act(hook.url, ca=str(tmp_path / "ca.pem"))
        trusting.apply(event(1))
        hook.wait(1)
        trusting.close()
        other = act(hook.url, retries=0)
        other.apply(event(2))
        assert "CERTIFICATE_VERIFY_FAILED" in told(other)
        other.close()
    with pytest.raises(UsageError, match="PEM"):
        act("https://127.0.0.1:9/", ca=str(tmp_path / "server.key"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "ftp://host/"}, "https://host/path"),
        ({"url": "http:///path"}, "https://host/path"),
        ({"url": "http://host:0/"}, "https://host/path"),
        ({"url": "http://host:x/"}, "url|Port|port"),
        ({"url": "http://me:secret@host/"}, "token_file"),
        ({"url": "http://host/a b"}, "blanks"),
        ({"url": "http://host/\r\nX: y"}, "blanks|https"),
        ({"url": "http://host/", "ca": "ca.pem"}, "https://"),
        ({"url": "http://host/", "headers": {"Host": "other"}}, "Host"),
        ({"url": "http://host/", "headers": {"X": "a\r\nY: b"}}, "headers"),
        ({"url": "http://host/", "headers": {"X Y": "a"}}, "headers"),
        ({"url": "http://host/", "method": "GET"}, "method"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    part, faults = parts.find(parts.ACTIONS, {"kind": "http", **options}, "actions[0]")
    assert part is None
    assert any(word in faults[0] for word in words.split("|")), faults
