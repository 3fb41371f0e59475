"""Checks of arguments that several modules share."""

import operator


def check_integer(name, value, minimum=1, even=False):
    """The value as `int`; raises ValueError unless it is a fitting integer."""
    try:
        if isinstance(value, bool):
            raise TypeError
        integer = operator.index(value)
        if integer < minimum or even and integer % 2:
            raise TypeError
    except TypeError:
        kind = "a positive even" if even else "a positive" if minimum else "an"
        least = "" if minimum else " of at least 0"
        raise ValueError(
            f"`{name}` must be {kind} integer{least}. Received: {value!r}"
        ) from None
    return integer


def check_flag(name, value):
    """The value; raises ValueError unless it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {value!r}")
    return value
