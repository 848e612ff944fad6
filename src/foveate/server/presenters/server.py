"""The server itself -> bodies of the API.

Knows:   what is told of the model, the limits and the queue.
Ignores: photographs.
"""

from collections.abc import Mapping

from foveate.server import schemas
from foveate.server.jobs.protocol import ModelInfo
from foveate.server.options import Limits, Options
from foveate.server.presenters.photographs import lesions_by_code
from foveate.version import version
from foveate.writers import maps
from foveate.writers.results import NOTICE


def health() -> schemas.Health:
    """Return the answer of a server that is up."""
    return schemas.Health(status="ok", version=version())


def server(model: ModelInfo, options: Options, queue: Mapping[str, int]) -> schemas.Server:
    """Return the server's version, model, limits and queue.

    Args:
        model: the model that makes the predictions.
        options: settings of the server.
        queue: as `JobQueue.lengths`.
    """
    return schemas.Server(
        version=version(),
        notice=NOTICE,
        model=schemas.Maker(name=model.name, version=model.version, sha256=model.sha256),
        lesions=_lesions(model),
        limits=_limits(options.limits),
        roots=sorted(options.roots),
        double_grading=options.double_grading,
        queue=schemas.Queue(**queue),
    )


def _lesions(model: ModelInfo) -> dict[str, schemas.ModelLesion]:
    by_code = lesions_by_code(list(model.thresholds))
    return {
        code: schemas.ModelLesion(
            name=by_code[code].name,
            colour=by_code[code].colour,
            threshold=threshold,
            level=maps.level(threshold, "png"),
        )
        for code, threshold in model.thresholds.items()
    }


def _limits(limits: Limits) -> schemas.LimitsBody:
    return schemas.LimitsBody(
        bytes=limits.bytes,
        pixels=limits.pixels,
        queue=limits.waiting,
        seconds=limits.seconds,
        keep_days=None if limits.keep is None else limits.keep.total_seconds() / 86400,
    )


def session(*, token_required: bool, signed_in: bool) -> schemas.Session:
    """Return whether a token is required, and whether the client is signed in."""
    return schemas.Session(token_required=token_required, signed_in=signed_in)
