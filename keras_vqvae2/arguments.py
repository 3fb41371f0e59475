"""Checks of arguments that several modules share."""

import dataclasses
import math
import numbers
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


def check_flag(name, value):
    """The value; raises ValueError unless it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {value!r}")
    return value


def check_number(name, value, low, high=math.inf, *, above=False):
    """Raises ValueError unless a value is a number in low..high, and finite.

    Args:
        name: Name of the argument.
        value: The value; None and booleans are no numbers.
        low: Least number.
        high: Greatest number.
        above: Whether it must be above `low` itself.
    """
    if not _is_number(value, low, high, above):
        raise ValueError(
            f"`{name}` must be {_range(low, high, above)}. Received: {value!r}"
        )


def _is_number(value, low, high, above):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    if above and value == low:
        return False
    return low <= value <= high and value != math.inf


def _range(low, high, above):
    least = f"above {low}" if above else f"of at least {low}"
    if high == math.inf:
        return f"a finite number {least}"
    return f"a number {least} and at most {high:g}"


def check_schedule(steps, warmup_steps, decay_steps):
    """Raises ValueError unless rise and fall fit into the steps."""
    check_integer("warmup_steps", warmup_steps, minimum=0)
    check_integer("decay_steps", decay_steps, minimum=0)
    if warmup_steps + decay_steps > steps:
        raise ValueError(
            f"`warmup_steps` and `decay_steps` must fit into `steps={steps}`. "
            f"Received: {warmup_steps} and {decay_steps}"
        )


# Each argument is stated once, as a field: its bounds, how an error describes
# them, and its default. `huggingface_hub.dataclasses.strict` would check types
# as well, but in huggingface_hub 1.0 it takes True for an integer, knows no
# `int | None`, and its errors don't say what was expected.


def argument(fits, expected, default=dataclasses.MISSING, **metadata):
    """Field of a class of `CheckedArguments`.

    Args:
        fits: Function that says whether a value is in bounds.
        expected: How an error describes such values.
        default: The default, if there is one.
        **metadata: Further metadata of the field.
    """
    metadata |= {"fits": fits, "expected": expected}
    return dataclasses.field(default=default, metadata=metadata)


def integer(low, high, default, kind="", optional=False):
    """An integer in low..high; `kind` is "even", "odd" or neither."""

    def fits(value):
        if value is None:
            return optional
        if type(value) is not int or not low <= value <= high:
            return False
        return not kind or value % 2 == (kind == "odd")

    expected = f"an {kind} integer".replace("  ", " ")
    none = "None or " if optional else ""
    return argument(fits, f"{none}{expected} in {low}..{high}", default)


def number(low, high, default, *, above=False, optional=False):
    """A finite number in low..high, not `low` itself if `above`."""

    def fits(value):
        if value is None:
            return optional
        return _is_number(value, low, high, above)

    none = "None or " if optional else ""
    return argument(fits, none + _range(low, high, above), default)


def flag(default):
    """True or False."""
    return argument(
        lambda value: isinstance(value, bool), "True or False", default
    )


def share(default, *, optional=False):
    """A number of at least 0 and below 1."""

    def fits(value):
        if value is None:
            return optional
        return _is_number(value, 0, 1, False) and value < 1

    none = "None or " if optional else ""
    return argument(fits, none + "at least 0 and below 1", default)


class CheckedArguments:
    """Base class of dataclasses whose fields are checked when they are set.

    Scalars of NumPy become Python's.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _plain(getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            if not field.metadata["fits"](value):
                raise ValueError(
                    f"`{field.name}` must be {field.metadata['expected']}. "
                    f"Received: {reprlib.repr(value)}"
                )

    @classmethod
    def from_model(cls, model_config):
        """Those of a model's `get_config`, or of its constructor."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(
            **{k: v for k, v in model_config.items() if k in names},
        )


def _plain(value):
    if isinstance(value, (list, tuple)):
        kind = tuple if isinstance(value, tuple) else list
        return kind(map(_plain, value))
    return value.item() if getattr(value, "shape", None) == () else value


def check_size(most, limit, which="These arguments describe"):
    """Raises if a model could be too large.

    Args:
        most: Upper bound of the number of its parameters.
        limit: The number that is accepted.
        which: Beginning of the message.

    Raises:
        ValueError: If `most` is above `limit`.
    """
    if most > limit:
        raise ValueError(
            f"{which} a model of up to {most} parameters, more than the "
            f"{limit} that are accepted."
        )
