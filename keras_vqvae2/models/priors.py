import collections.abc

import keras


class Priors(collections.abc.Mapping):
    """Priors by level name, each loaded when it is asked for.

    A prior that is given as a function is loaded again each time, so that it
    takes memory only while it is used; `keep` keeps it in memory.

    Args:
        priors: Mapping from level name (`"top"`, ...) to a `PixelSNAILPrior`,
            or to a function without arguments that loads it.

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

    def __init__(self, priors=()):
        # `|` and copies must not load anything.
        self._priors = dict(getattr(priors, "_priors", priors))

    def __getitem__(self, level):
        if level not in self._priors:
            raise KeyError(
                f"There is no prior of the level {level!r}. There are priors "
                f"for: {', '.join(self) or 'none'}."
            )
        prior = self._priors[level]
        return prior if self.is_kept(level) else prior()

    def __contains__(self, level):
        return level in self._priors

    def __iter__(self):
        return iter(self._priors)

    def __len__(self):
        return len(self._priors)

    def __or__(self, other):
        return Priors({**self._priors, **Priors(other)._priors})

    def __repr__(self):
        return f"Priors({', '.join(self)})"

    def is_kept(self, level):
        """Whether a level's prior is kept in memory."""
        return isinstance(self._priors[level], keras.Model)

    def keep(self):
        """Loads all priors and keeps them in memory."""
        self._priors = dict(self)
