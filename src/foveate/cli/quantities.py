"""Durations and sizes as short texts, for all commands.

Knows:   units.
Ignores: what is measured.
"""


def format_duration(seconds: float) -> str:
    """Return a duration as a short text: '45 s', '12 min', '3 h 05 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def format_size(count: float) -> str:
    """Return a number of bytes as a short text: '1.2 GB'."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
