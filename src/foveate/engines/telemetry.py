"""Nothing leaves the machine: the usage statistics of the libraries that compute are switched off.

Knows:   how ONNX Runtime and OpenVINO report their use, and how each is kept from it.
Ignores: what they compute.

Both start when they are imported: ONNX Runtime (1.32) writes events and a device id to the user's cache folder
and sends them to Microsoft; OpenVINO (2026.4) writes a client id to the user's home folder and starts a process
that sends events to Google Analytics. Foveate imports them here and nowhere else.
"""

import importlib
import os
import sys
from types import ModuleType

ORT_SWITCH = "ORT_DISABLE_TELEMETRY"
"""Environment variable that ONNX Runtime reads when it is imported."""

OPENVINO_REPORTER = "openvino_telemetry"
"""The package that reports OpenVINO's use; where it cannot be imported, OpenVINO uses a stub."""


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime without its telemetry, also for processes that this one starts."""
    os.environ[ORT_SWITCH] = "1"
    module = importlib.import_module("onnxruntime")
    module.disable_telemetry_events()  # if the caller imported it before
    return module


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    Raises:
        ImportError: it is not installed.
    """
    if "openvino" in sys.modules or OPENVINO_REPORTER in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[OPENVINO_REPORTER] = None  # type: ignore[assignment]  # makes Python refuse to import it
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[OPENVINO_REPORTER]
