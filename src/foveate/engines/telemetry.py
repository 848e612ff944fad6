"""Switch off the usage statistics of the libraries that compute, so that nothing leaves the machine.

Knows:   how ONNX Runtime and OpenVINO report their use, and how to prevent it.
Ignores: what they compute.

Both report when they are imported. ONNX Runtime (1.32) writes events and a device id to the user's cache
folder and sends them to Microsoft. OpenVINO (2026.4) writes a client id to the user's home folder and starts
a process that sends events to Google Analytics.
"""

import importlib
import os
import sys
import threading
from types import ModuleType

ORT_SWITCH = "ORT_DISABLE_TELEMETRY"
"""Environment variable that ONNX Runtime reads when it is imported."""

OPENVINO_REPORTER = "openvino_telemetry"
"""The package that reports OpenVINO's use; if it cannot be imported, OpenVINO uses a stub instead."""

_IMPORT_LOCK = threading.Lock()
"""Held while the reporter is hidden: another thread would put it back too early, or not at all."""


def disable_onnxruntime() -> None:
    """Switch off ONNX Runtime's telemetry for a later import, here and in processes that this one starts."""
    os.environ[ORT_SWITCH] = "1"


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    Raises:
        ImportError: it is not installed.
    """
    return import_without_reporter("openvino")


def import_without_reporter(name: str) -> ModuleType:
    """Import a library that reports its use by OpenVINO's reporter, without it.

    Raises:
        ImportError: it is not installed.
    """
    with _IMPORT_LOCK:
        reporter = sys.modules.get(OPENVINO_REPORTER)
        sys.modules[OPENVINO_REPORTER] = None  # type: ignore[assignment]  # makes Python refuse the import
        try:
            return importlib.import_module(name)
        finally:
            if reporter is None:
                sys.modules.pop(OPENVINO_REPORTER, None)
            else:
                sys.modules[OPENVINO_REPORTER] = reporter
