import json


def read_strings(line: bytes, names: tuple[str, ...], place: str) -> tuple[str, ...]:
    """Read the named strings of a JSON object on one line; errors say that it is at `place`.

    Raises
    ------
    ValueError
        If the line is not a JSON object in UTF-8, or one of the names is missing or not of a string.
    """
    try:
        record = json.loads(line)
    except ValueError as error:  # of the encoding as well as of JSON
        raise ValueError(f"{place} must be a JSON object, got {line[:60]!r}: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{place} must be a JSON object, got {line[:60]!r}")
    for name in names:
        if not isinstance(record.get(name), str):
            raise ValueError(f"{place} must have the string {name!r}, got {line[:60]!r}")
    return tuple(record[name] for name in names)
