"""Plays `outrider agent run` to the demo: reads its configuration, decides all images alike, reports.

    python line_agent.py BEHAVIOUR agent run --config FILE --summary FILE

`good` does what an agent should; `fails` says why and ends with 21; `hangs` never ends; `silent`
leaves no summary; `forgets` does not send the last decision that it counts.
"""

import json
import sys
import time
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from outrider_bundle.messages import codec
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics

RUN = "0123456789abcdef"


def play(config: dict[str, object], *, forget: bool) -> dict[str, object]:
    """Decide the first rule's label on every image; return the summary."""
    device, link, pipeline = config["device"], config["link"], config["pipelines"][0]  # type: ignore[index]
    frames = sorted(p.stem for p in Path(pipeline["source"]["path"]).glob("*.png"))
    rule = pipeline["policy"]["rules"][0]
    topics = Topics(device["fleet"], device["id"])  # type: ignore[index]
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    address = urlsplit(link["url"])  # type: ignore[index]
    client.connect(str(address.hostname), address.port or 0)
    client.loop_start()
    for seq, frame in enumerate(frames[:-1] if forget else frames):
        data = {"label": rule["label"], "index": 0, "score": 1.0, **rule["data"]}
        event = Event(
            run=RUN, seq=seq, time=1.0, pipeline=pipeline["id"], kind="decision", frame=frame, data=data
        )
        client.publish(topics.events, codec.encode(event), qos=1)
        act = {**data, "run": RUN, "seq": seq, "frame": frame}
        client.publish(topics.act(pipeline["id"]), json.dumps(act), qos=1).wait_for_publish(5)
    client.disconnect()
    client.loop_stop()
    figures = {"p50_ms": 1.0, "p99_ms": 2.0, "dropped": 0, "late": 0}
    counts = dict.fromkeys(("frames", "decisions", "events"), len(frames))
    return {"run": RUN, "variant": "null", "placement": {"device": "null"}, **figures, **counts}


def main() -> int:
    """Behave as told."""
    behaviour, given = sys.argv[1], sys.argv[2:]
    if given[:3] != ["agent", "run", "--config"] or given[4] != "--summary":
        return 2
    if behaviour == "fails":
        sys.stderr.write("outrider: error: no variant reproduces\n")
        return 21
    if behaviour == "hangs":
        time.sleep(60)
    summary = play(tomllib.loads(Path(given[3]).read_text()), forget=behaviour == "forgets")
    if behaviour != "silent":
        Path(given[5]).write_text(json.dumps(summary))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
