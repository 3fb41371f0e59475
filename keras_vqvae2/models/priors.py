import collections.abc

import keras

# Kept without being asked for.
SMALL = 2**28
_BYTES = 4  # of a parameter


class Priors(collections.abc.Mapping):
    """Priors by level name, each loaded when it is asked for.

    A prior that is given as a function stays in memory once it was asked for
    if those that stay take no more than `keep_bytes` together, at 4 bytes a
    parameter. Otherwise it is loaded again each time, so that it takes memory
    only while it is used. `keep` keeps all.

    Args:
        priors: Mapping from level name (`"top"`, ...) to a `PixelSNAILPrior`,
            or to a function without arguments that loads it.
        keep_bytes: The bound, as the attribute of this name.

    Example:

    ```python
    prior = keras_vqvae2.PixelSNAILPrior(
        code_shapes=((8, 8),), hidden_dim=16, residual_dim=16, num_blocks=1,
        num_attention_layers=0, num_output_blocks=0,
    )
    priors = Priors({"top": lambda: prior})
    assert not priors.is_kept("top") and priors["top"] is prior
    ```
    """

    def __init__(self, priors=(), keep_bytes=SMALL):
        # `|` and copies must not load anything.
        if isinstance(priors, Priors):
            priors = {**priors._priors, **priors._kept}
        self._priors = dict(priors)
        self._kept = {}
        self.keep_bytes = keep_bytes

    def __getitem__(self, level):
        if level not in self._priors:
            raise KeyError(
                f"There is no prior of the level {level!r}. There are priors "
                f"for: {', '.join(self) or 'none'}."
            )
        prior = self._kept.get(level, self._priors[level])
        if isinstance(prior, keras.Model):
            return prior
        prior = prior()
        taken = [prior, *self._kept.values()]
        if _BYTES * sum(x.count_params() for x in taken) <= self.keep_bytes:
            self._kept[level] = prior
        return prior

    def __contains__(self, level):
        return level in self._priors

    def __iter__(self):
        return iter(self._priors)

    def __len__(self):
        return len(self._priors)

    def __or__(self, other):
        mine, others = Priors(self)._priors, Priors(other)._priors
        return Priors({**mine, **others}, self.keep_bytes)

    def __repr__(self):
        return f"Priors({', '.join(self)})"

    def is_kept(self, level):
        """Whether a level's prior is in memory to stay."""
        prior = self._kept.get(level, self._priors[level])
        return isinstance(prior, keras.Model)

    def keep(self):
        """Loads all priors and keeps them in memory."""
        self._kept = dict(self)

    def let_go(self):
        """Lets go of the priors that were loaded."""
        self._kept = {}
