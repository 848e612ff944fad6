"""`foveate serve`.

Knows:   which call its options become, and where its token comes from.
Ignores: how anything is served.
"""

import os
from datetime import timedelta
from pathlib import Path

from foveate import models
from foveate.cli.engine_hint import print_hint
from foveate.cli.options import read_first_line
from foveate.cli.options.serve import LimitOptions, ServeOptions
from foveate.engines.choice import EngineChoice
from foveate.errors import SettingError
from foveate.paths import real_path
from foveate.server.http import serving
from foveate.server.options import Limits, Options, roots

TOKEN_VARIABLE = "FOVEATE_TOKEN"
"""Environment variable that may hold the token: everyone on the machine can see command lines."""


def serve(options: ServeOptions) -> None:
    """Serve until interrupted.

    Raises:
        FoveateError: the server cannot be started.
    """
    engine = options.engine
    server = Options(
        data=Path(real_path(options.data)),
        model=models.DEFAULT if options.model is None else options.model,
        engine=engine.engine,
        precision=engine.precision,
        threads=engine.threads,
        workers=options.workers,
        limits=_make_limits(options.limits),
        roots=roots(options.root),
        host=options.host,
        port=options.port,
        hosts=frozenset(options.allow_host),
        double_grading=options.double_grading,
        forget_missing=options.forget_missing,
        token=_read_token(options.token_file),
    )
    print_hint(EngineChoice(engine=engine.engine, precision=engine.precision))
    serving.serve(server, lambda address: print(f"Foveate serves at {address}", flush=True))


def _make_limits(options: LimitOptions) -> Limits:
    return Limits(
        bytes=options.limit_bytes,
        pixels=options.limit_pixels,
        waiting=options.queue,
        seconds=options.limit_seconds,
        keep=None if options.keep_days is None else _days(options.keep_days),
    )


def _days(number: float) -> timedelta:
    """Return a number of days.

    Raises:
        SettingError: it is no number, or too large.
    """
    try:
        return timedelta(days=number)
    except (ValueError, OverflowError) as error:
        raise SettingError(
            f"--keep-days is {number:g}; give a number of days, or leave it out to keep results"
        ) from error


def _read_token(path: Path | None) -> str | None:
    """Return the token that a file or the environment holds, or None.

    Raises:
        SettingError: the file cannot be read, or the token is empty: an empty one would admit everyone.
    """
    if path is None:
        if TOKEN_VARIABLE not in os.environ:
            return None
        token = os.environ[TOKEN_VARIABLE].strip()
        if not token:
            raise SettingError(f"{TOKEN_VARIABLE} is set, but empty; give it a token, or unset it")
        return token
    token = read_first_line(path).strip()
    if not token:
        raise SettingError(f"--token-file {path}: its first line is empty; write the token there")
    return token
