"""Names of the levels of codes."""


def level_names(num_levels):
    """Names of the code maps, coarse to fine: top first."""
    if num_levels == 1:
        return ("top",)
    middle = ["middle"]
    if num_levels != 3:
        middle = [f"middle_{i}" for i in range(1, num_levels - 1)]
    return ("top", *middle, "bottom")
