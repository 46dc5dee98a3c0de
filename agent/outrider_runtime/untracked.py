"""OpenVINO without its telemetry: on import it would report its use to a server, asking nobody.

It and NNCF do without the package `openvino_telemetry` where it is missing, and an entry of None makes any
later import of it fail as if it were.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # what the import system documents

import openvino  # noqa: E402 - only now

__all__ = ["openvino"]
