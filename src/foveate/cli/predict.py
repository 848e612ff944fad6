"""`foveate predict` on this machine.

Knows:   which call its options become.
Ignores: how a run is done, and how it is shown.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from foveate import models
from foveate.cli import progress, report
from foveate.cli.engine_hint import print_hint
from foveate.cli.options import UsageError, parse_codes, parse_field, parse_thresholds
from foveate.cli.options.predict import DicomOptions, PredictOptions
from foveate.engines.choice import EngineChoice
from foveate.engines.threads import available_processors
from foveate.inference.api import load
from foveate.inference.settings import Settings
from foveate.paths import valid_path
from foveate.writers.results import MIN_SECRET_BYTES, OBJECT_KINDS, DicomRequest

MAX_WORKERS = 4
"""Unless more are asked for: each takes memory of its own."""


def predict_on_this_machine(paths: Sequence[str], options: PredictOptions) -> int:
    """Predict photographs, print the result and return the exit code.

    Args:
        paths: files, folders and globs.
        options: options that are consistent.

    Raises:
        UsageError: an option is misspelt.
        FoveateError: the run cannot be done.
    """
    settings, objects = make_settings(options), make_objects(options.dicom)
    device, out = options.device, Path(options.out)
    print_hint(EngineChoice(engine=device.engine, device=device.device, precision=device.precision))
    model = load(
        models.DEFAULT if options.model is None else options.model,
        engine=device.engine,
        device=device.device,
        precision=device.precision,
        threads=device.threads,
    )
    with progress.progress_display() as show:
        result = model.predict(
            paths,
            out,
            settings=settings,
            format=options.format,
            resume=options.resume,
            workers=min(MAX_WORKERS, available_processors()) if options.workers is None else options.workers,
            objects=objects,
            progress=show,
        )
    if options.as_json:
        report.print_json(result, out)
    else:
        report.print_table(result, out)
    return 1 if result.failures else 0


def make_settings(options: PredictOptions) -> Settings:
    """Return the settings for processing photographs.

    Raises:
        UsageError: an option is misspelt.
    """
    return Settings(
        part=options.region,
        field=parse_field(options.field),
        lesions=parse_codes(options.lesions),
        thresholds=parse_thresholds(options.threshold),
        effort=options.effort,
    )


def make_objects(options: DicomOptions) -> DicomRequest | None:
    """Return which DICOM objects to make, None for none.

    Raises:
        UsageError: an object is unknown, or the file holds no secret.
    """
    if options.dicom is None:
        return None
    return parse_objects(
        options.dicom, None if options.deidentify is None else _read_secret(options.deidentify)
    )


def parse_objects(text: str, secret: bytes | None = None) -> DicomRequest:
    """Parse 'seg,sr' into the DICOM objects to make now; with a secret, without the patient.

    Raises:
        UsageError: a part is not an object.
    """
    names = [part.strip() for part in text.split(",")]
    if not set(names) <= set(OBJECT_KINDS):
        raise UsageError(f"--dicom {text!r}: give some of {','.join(OBJECT_KINDS)}.")
    kinds = [kind for kind in OBJECT_KINDS if kind in names]
    return DicomRequest(kinds=kinds, created=datetime.now(), secret=secret)


def _read_secret(path: Path) -> bytes:
    try:
        secret = valid_path(path).read_bytes().strip()
    except OSError as error:
        raise UsageError(
            f"--deidentify {path}: cannot be read ({error.strerror}); make one with foveate dicom key {path}."
        ) from None
    if len(secret) < MIN_SECRET_BYTES:
        raise UsageError(
            f"--deidentify {path}: holds {len(secret)} bytes, but a secret has at least "
            f"{MIN_SECRET_BYTES}; make one with foveate dicom key FILE."
        )
    return secret
