"""Sampling of code maps from a `PixelSNAILPrior`, compiled row by row."""

import concurrent.futures
import functools

import keras
import numpy as np
from keras import ops

from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.backend.threads import num_batch_parts
from keras_vqvae2.sampling import prior_state
from keras_vqvae2.sampling.code_sampler import CodeSampler
from keras_vqvae2.sampling.draws import draw_codes

# Attention over the finished rows takes a static number of them: this many
# different ones in all, and steps of that many rows, each compiled by itself.
_NUM_PREFIXES = 4

_MIN_PREFIX = 8


class CachedSampler(CodeSampler):
    """Samples the codes of a prior row by row, with what was computed before.

    Args:
        prior: `PixelSNAILPrior`, built.
        *args: Other arguments of `CodeSampler`.
        **kwargs: The same by name.

    Raises:
        ValueError: As `CodeSampler`.
    """

    def __init__(self, prior, *args, **kwargs):
        super().__init__(prior, *args, **kwargs)
        self._start_functions = {}  # by function and batch size
        self._row_functions = {}  # by number of rows that attention looks at
        self._compiled = set()  # row functions, and for which batch size
        # By itself, since XLA would be slower at its large convolutions; each
        # function is passed what it reads only, since that takes time, too.
        self._rows_above = compile_function(
            prior, functools.partial(prior_state.rows_above, prior)
        )

    def _sample(self, draws, coarser, labels, forced, on_row, choose):
        height, _ = self.prior.code_shapes[-1]
        number = len(draws)
        # A choice is among all images of the batch.
        num_parts = 1 if choose is not None else num_batch_parts(number)
        # Of one size, which is compiled once: the last image fills them up.
        images = np.pad(np.arange(number), (0, -number % num_parts), "edge")
        parts = np.split(images, num_parts)
        # Once for all parts: in time, in memory and in the caches.
        weights = self._start_function(
            prior_state.start_weights, self._copies * len(parts[0])
        )()
        states = [
            self._start(
                len(part),
                [x[part] for x in coarser],
                None if labels is None else labels[part],
            )._replace(weights=weights)
            for part in parts
        ]
        codes, all_logits, total = [], [], 0.0
        with concurrent.futures.ThreadPoolExecutor(num_parts) as pool:
            for row in range(height):
                states, results = self._draw_rows(
                    pool,
                    row,
                    states,
                    [draws[part, row] for part in parts],
                    [forced[part, row] for part in parts],
                )
                row_codes, log_probability, forced_part, logits = (
                    np.concatenate(x)[:number] for x in results
                )
                codes.append(row_codes)
                total = total + log_probability
                if self.keep_logits:
                    all_logits.append(logits)
                if choose is not None:
                    chosen = choose(row, forced_part)
                    if chosen is not None:
                        states = [self._take(states[0], chosen)]
                        total = total[chosen]
                        codes = [x[chosen] for x in codes]
                        all_logits = [x[chosen] for x in all_logits]
                if on_row is not None:
                    on_row(row + 1)
        return (
            np.stack(codes, axis=1),
            total,
            np.stack(all_logits, axis=1) if self.keep_logits else None,
        )

    def _draw_rows(self, pool, row, states, draws, forced):
        """A row of every part of the batch, side by side.

        Returns:
            Tuple of the new states, and for each other result of `_draw_row`
            the NumPy arrays of the parts.
        """
        function = self._row_function(row)

        def draw(state, draws, forced):
            rows, inputs = self._rows_above(
                state.class_vector, state.condition, state.above, np.int32(row)
            )
            first, memory, *results = function(
                prior_state.PriorState(
                    state.weights, None, None, rows[:1], state.memory
                ),
                inputs,
                draws,
                forced,
            )
            state = state._replace(above=[first, *rows[1:]], memory=memory)
            return state, *map(ops.convert_to_numpy, results)

        def start_others():
            return [pool.submit(draw, *x) for x in others]

        first, *others = zip(states, draws, forced, strict=True)
        # What is not compiled yet is compiled by one, not by all at once.
        key = (function, len(draws[0]))
        futures = start_others() if key in self._compiled else None
        done = [draw(*first)]
        self._compiled.add(key)
        done += [x.result() for x in futures or start_others()]
        states, *results = zip(*done, strict=True)
        return list(states), results

    def _start(self, num_images, coarser, labels):
        """The maps before the first row, guided images twice."""
        coarser, labels = self._with_copies(coarser, labels)
        batch_size = self._copies * num_images
        function = self._start_function(prior_state.start_maps, batch_size)
        return function(coarser, labels)

    def _start_function(self, function, batch_size):
        """A function of `prior_state`, compiled for a batch size."""
        key = function, batch_size
        if key not in self._start_functions:
            self._start_functions[key] = compile_function(
                self.prior, functools.partial(function, self.prior, batch_size)
            )
        return self._start_functions[key]

    def _take(self, state, chosen):
        """The state of chosen images, which share coarser maps and labels."""
        number = len(chosen)
        chosen = np.concatenate(
            [chosen + copy * number for copy in range(self._copies)]
        ).astype("int32")
        above, memory = keras.tree.map_structure(
            lambda x: ops.take(x, chosen, axis=0), (state.above, state.memory)
        )
        return state._replace(above=above, memory=memory)

    def _row_function(self, row):
        """The compiled `_draw_row` of a row."""
        height = self.prior.code_shapes[-1][0]
        prefix = 0
        if self.prior.attentions and row:
            step = max(-(-height // _NUM_PREFIXES), _MIN_PREFIX)
            prefix = min(-(-row // step) * step, height)
        if prefix not in self._row_functions:
            self._row_functions[prefix] = compile_function(
                self.prior,
                functools.partial(self._draw_row, prefix),
                many_small=True,
            )
        return self._row_functions[prefix]

    def _draw_row(self, prefix, state, inputs, draws, forced):
        """Codes of a row, one column after the other.

        Args:
            prefix: Static number of rows that attention looks at.
            state: `PriorState` of what the row needs.
            inputs: Arguments of `empty_row`.
            draws: Tensor `(batch, width)`.
            forced: Tensor `(batch, width)`.

        Returns:
            Tuple of what `end_row` changes in the state (the first of `above`,
            and the memory), the codes, their summed log-probability, that of
            the forced ones among them, and the logits `(batch, width,
            num_embeddings)`, of width 0 unless they are kept.
        """
        prior = self.prior
        width = prior.code_shapes[-1][1]
        number = ops.shape(draws)[0]
        cropped = prior_state.crop_memory(prior, state, prefix)
        draws = ops.transpose(draws)  # (W, B)
        forced = ops.transpose(forced)

        def body(column, loop):
            row_state, total, forced_part, kept = loop
            logits, row_state = prior_state.step(
                prior, cropped, row_state, column
            )
            logits, guided = self._guided(logits)
            drawn = draw_codes(guided, draws[column])
            code = ops.where(forced[column] < 0, drawn, forced[column])  # (B,)
            log_probability = ops.take_along_axis(
                ops.log_softmax(logits, axis=-1), code[:, None], axis=-1
            )[:, 0]
            if self.keep_logits:
                here = (ops.arange(width) == column)[:, None]
                kept = ops.where(here, logits[:, None], kept)
            row_state = prior_state.put(
                prior,
                cropped,
                row_state,
                column,
                ops.tile(code, [self._copies]),
            )
            forced_part = forced_part + ops.where(
                forced[column] < 0, 0.0, log_probability
            )
            return row_state, total + log_probability, forced_part, kept

        kept = (number, width if self.keep_logits else 0, prior.num_embeddings)
        row_state, total, forced_part, kept = ops.fori_loop(
            0,
            width,
            body,
            (
                prior_state.empty_row(prior, *inputs),
                ops.zeros((number,), prior.logits_dtype),
                ops.zeros((number,), prior.logits_dtype),
                ops.zeros(kept, prior.logits_dtype),
            ),
        )
        state = prior_state.end_row(prior, state, row_state)
        codes = row_state.codes[:number]
        return state.above[0], state.memory, codes, total, forced_part, kept
