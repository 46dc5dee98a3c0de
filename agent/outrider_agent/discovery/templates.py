"""Value templates: how Home Assistant finds a value in one of our messages.

They are Jinja, evaluated there with the message as `value_json` and the entity itself as `this`. Home
Assistant ignores an empty answer, except from a sensor for text, which has to repeat its state; `None` makes
a state unknown. Source: https://www.home-assistant.io/integrations/sensor.mqtt/#value_template.

Every part is found by `get` or by subscript: a dot would find a method of `dict` where a key is called like
one, and raise where there is none.
"""

import msgspec

AVAILABILITY = "{{ value_json.status }}"
PHASE = "{{ value_json.phase }}"
TROUBLE = "{{ 'ON' if value_json.get('error') else 'OFF' }}"
TROUBLE_WHY = "{{ {'reason': value_json.get('error', '')} | tojson }}"

BOARD = "{% set b = value_json.get('board') or {} %}"
TEMPERATURE = BOARD + "{{ b.get('temperature_c') }}"
THROTTLED = BOARD + "{{ 'ON' if b.get('throttled') or b.get('throttles') else 'OFF' }}"
THROTTLED_BY = BOARD + "{{ {'by': b.get('throttled', [])} | tojson }}"
RATE = "(p['frames'] / value_json.duration_s if value_json.duration_s else none)"
LATENCY = "p['stages'].get('loop', {}).get('p95_ms')"

NOTHING = "''"
AS_BEFORE = "(this.state if this.state not in ['unavailable', 'unknown'] else none)"
MOST_TEXT = 255
"""Longer states are none: https://developers.home-assistant.io/docs/core/entity."""

LABEL = "('none' if d.get('state') == 'off' else d.get('label'))"
SCORE = "d.get('score')"
ACTION = "(d['names'][d['index']] if 'names' in d and d.get('index', -1) >= 0 else d.get('label'))"
STRANGENESS = "d.get('score', d.get('value'))"
COUNT = "(d['objects'] | length if 'objects' in d else 0 if d.get('state') == 'off' else d.get('count'))"
SUREST = "('none' if o is none or d.get('state') == 'off' else o.get('label'))"
SUREST_SCORE = "(0 if o is none else o.get('score'))"
STRANGE = (
    "(d['score'] >= d['threshold'] if 'threshold' in d else none if 'label' not in d"
    " else d['label'] == 'anomaly' and d.get('state') != 'off')"
)


def text(pipeline: str, expression: str) -> str:
    """Return a template of a state in words: `expression` of a decision's data `d`, else what it was."""
    return decided(
        pipeline, f"(none if {expression} is none else ({expression} | string)[:{MOST_TEXT}])", AS_BEFORE
    )


def number(pipeline: str, expression: str) -> str:
    """Return a template of a number: `expression` of a decision's data `d`."""
    return decided(pipeline, expression, NOTHING)


def truth(pipeline: str, expression: str) -> str:
    """Return a template of yes or no: `expression` of a decision's data `d`, none where it does not tell."""
    return decided(pipeline, f"(none if {expression} is none else 'ON' if {expression} else 'OFF')", NOTHING)


def named(name: str) -> str:
    """Return an expression for the number called `name`, whichever policy has decided."""
    quoted = msgspec.json.encode(name).decode()  # Jinja reads such a string as JSON does
    return (
        f"(d['values'][d['names'].index({quoted})] if {quoted} in d.get('names', [])"
        f" else d.get('value') if {quoted} in [d.get('name'), d.get('label')] else none)"
    )


def happened(pipeline: str) -> str:
    """Return a template of an event entity: each decision with all its data."""
    told = "dict(d, event_type='decision', frame=value_json.frame, time=value_json.time) | tojson"
    return decided(pipeline, f"({told})", NOTHING)


def decided(pipeline: str, expression: str, otherwise: str) -> str:
    """Return a template over events: `expression` of a decision of `pipeline`, where it is none `otherwise`.

    It sees the decision's data as `d`, and as `o` its surest object, `d` itself unless all are in it.
    """
    return (
        "{% set v = none %}"
        f"{{% if value_json.pipeline == '{pipeline}' and value_json.kind == 'decision' %}}"
        "{% set d = value_json.data %}"
        "{% set o = d if 'objects' not in d else d['objects'][0] if d['objects'] else none %}"
        f"{{% set v = {expression} %}}{{% endif %}}{{{{ v if v is not none else {otherwise} }}}}"
    )


def measured(pipeline: str, expression: str) -> str:
    """Return a template over telemetry: `expression` of the metrics `p` of `pipeline`."""
    return (
        f"{{% set p = value_json.pipelines.get('{pipeline}') %}}"
        f"{{{{ {expression} if p is not none else '' }}}}"
    )


def reported(pipeline: str, expression: str) -> str:
    """Return a template over reported states: `expression` of the report `p` of `pipeline`, else unknown."""
    return (
        f"{{% set p = value_json.pipelines.get('{pipeline}') %}}"
        f"{{{{ {expression} if p is not none else none }}}}"
    )


def why(pipeline: str) -> str:
    """Return a template of attributes: why a pipeline is not as it should be."""
    return f"{{{{ {{'reason': value_json.pipelines.get('{pipeline}', {{}}).get('reason', '')}} | tojson }}}}"
