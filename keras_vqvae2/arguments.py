"""Checks of arguments that several modules share."""

import operator
import reprlib


def check_integer(name, value, minimum=1, even=False, maximum=None):
    """The value as `int`; raises ValueError unless it is a fitting integer."""
    try:
        if isinstance(value, bool):
            raise TypeError
        integer = operator.index(value)
        if integer < minimum or even and integer % 2:
            raise TypeError
        if maximum is not None and integer > maximum:
            raise TypeError
    except TypeError:
        kind = "a positive even" if even else "a positive" if minimum else "an"
        bound = "" if minimum else " of at least 0"
        if maximum is not None:
            bound += f"{' and' if bound else ' of'} at most {maximum}"
        raise ValueError(
            f"`{name}` must be {kind} integer{bound}. Received: "
            f"{reprlib.repr(value)}"
        ) from None
    return integer
