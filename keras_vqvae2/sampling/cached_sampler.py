"""Exact cached sampling of code maps from a `PixelSNAILPrior`.

A full pass for each code would do the work of all positions over and over. At
the start of a row everything that depends on finished rows only (the vertical
stack, conditioning) is computed for the whole row at once; what remains for a
code are the horizontal stack's own taps, 1x1 convolutions and one query of
each attention layer against keys and values that are kept.
"""

import math

import numpy as np
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.layers.causal_self_attention import masked_softmax
from keras_vqvae2.sampling.draws import draw_codes
from keras_vqvae2.sampling.draws import truncate_logits

# Attention over the finished rows takes a static number of them: this many
# different ones in all, and steps of that many rows, each compiled by itself.
_NUM_PREFIXES = 4

_MIN_PREFIX = 8


class CachedSampler:
    """Samples the codes of a prior row by row.

    Args:
        prior: `PixelSNAILPrior`, built.
        temperature: Divides the logits.
        top_k: The number of most likely codes to draw from, or None for all.
        top_p: Draw from the most likely codes that have this probability
            together, or None for all.
        guidance_scale: Codes are drawn from the logits without a class, plus
            this times what the class adds to them. 1 is the prior itself;
            more favours codes that are typical of the class, at the price of
            variety and of twice the work. Source: Ho and Salimans,
            "Classifier-free diffusion guidance", section 3.2,
            https://arxiv.org/abs/2207.12598, on logits.
        keep_logits: Whether to return the prior's logits too.

    Raises:
        ValueError: If an argument is out of range, or the prior cannot be
            guided.
    """

    def __init__(
        self,
        prior,
        temperature=1.0,
        top_k=None,
        top_p=None,
        guidance_scale=1.0,
        keep_logits=False,
    ):
        if not (0 < temperature < math.inf):
            raise ValueError(
                "`temperature` must be positive. For the most likely codes "
                f"pass top_k=1. Received: {temperature!r}"
            )
        if top_k is not None:
            top_k = check_integer("top_k", top_k)
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"`top_p` must be in (0, 1]. Received: {top_p!r}")
        if not (0 <= guidance_scale < math.inf):
            raise ValueError(
                "`guidance_scale` must not be negative; 1 is no guidance. "
                f"Received: {guidance_scale!r}"
            )
        if guidance_scale != 1.0 and not prior.class_dropout:
            raise ValueError(
                "Guidance needs a class-conditional prior that was trained "
                "with `class_dropout`, so that it knows images without a "
                "class, too."
            )
        self.prior = prior
        self.guidance_scale = guidance_scale
        self._copies = 1 if guidance_scale == 1.0 else 2
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.keep_logits = keep_logits
        self._start = compile_function(prior, self._start_function)
        self._above = compile_function(prior, self._above_function)
        self._rows = {}

    def sample(self, draws, coarser=(), labels=None, forced=None, on_row=None):
        """Codes of a batch.

        Args:
            draws: Float32 array `(batch, height, width)` in [0, 1), as of
                `uniform_draws`.
            coarser: Integer arrays, the given coarser maps.
            labels: Integer array `(batch,)`, for a class-conditional prior.
            forced: Integer array shaped as `draws`: codes to take instead of
                drawing, where not negative; or None.
            on_row: Function called with the number of finished rows, or None.

        Returns:
            Tuple of the int32 array `(batch, height, width)` of codes, the
            float32 array `(batch,)` of their log-probabilities under the
            prior itself (without temperature and truncation), and the logits
            `(batch, height, width, num_embeddings)` or None.
        """
        height, width = self.prior.sizes[-1]
        batch = len(draws)
        if forced is None:
            forced = np.full(draws.shape, -1, "int32")
        inputs = [np.asarray(x, "int32") for x in coarser]
        if labels is not None:
            inputs.append(np.asarray(labels, "int32"))
        if self._copies == 2:
            # All images once more, without a class.
            inputs = [np.concatenate([x, x]) for x in inputs]
            inputs[-1][batch:] = self.prior.num_classes
            batch *= 2
        class_vector, condition, rows, memory = self._start(
            np.zeros((batch,), "int32"), *inputs
        )
        weights = self._dense_weights(batch)
        embedded = None
        codes, all_logits, total = [], [], 0.0
        for row in range(height):
            rows, gates = self._above(
                np.int32(row),
                class_vector,
                None if condition is None else condition[:, row : row + 1],
                rows,
                embedded,
            )
            memory, embedded, row_codes, log_probability, logits = self._row(
                row
            )(
                np.int32(row),
                draws[:, row],
                np.asarray(forced[:, row], "int32"),
                gates,
                memory,
                weights,
            )
            codes.append(ops.convert_to_numpy(row_codes))
            total = total + ops.convert_to_numpy(log_probability)
            if self.keep_logits:
                all_logits.append(ops.convert_to_numpy(logits))
            if on_row is not None:
                on_row(row + 1)
        return (
            np.stack(codes, axis=1),
            total,
            np.stack(all_logits, axis=1) if self.keep_logits else None,
        )

    def _start_function(self, zeros, *inputs):
        prior = self.prior
        inputs = list(inputs)
        class_vector = None
        if prior.class_embedding is not None:
            class_vector = prior.class_embedding(inputs.pop())
        condition = prior._condition(inputs)
        height, width = prior.sizes[-1]
        batch = ops.shape(zeros)[0]
        half = prior.kernel_size // 2
        dtype = prior.compute_dtype
        rows = [
            ops.zeros((batch, half, width, prior.hidden_dim), dtype)
            for _ in prior.blocks
        ]
        memory = [
            (
                ops.zeros(
                    (batch, a.num_heads, height * width, a.head_dim), dtype
                ),
            )
            * 2
            for a in prior.attentions
        ]
        return class_vector, condition, rows, memory

    def _dense_weights(self, batch):
        """`(kernel, bias)` of all that the loop over columns applies.

        For a single image the horizontal convolutions' kernels are transposed:
        compiled by XLA, the product with a vector is then two to three times
        as fast on a CPU.
        """
        prior = self.prior
        dtype = prior.compute_dtype
        layers = [
            *(block.horizontal_conv for block in prior.blocks),
            *(block.horizontal_projection for block in prior.blocks),
            *(attention.query for attention in prior.attentions),
            *(attention.key_value for attention in prior.attentions),
            *prior.attention_projections,
            *(x for block in prior.output_blocks for x in (block[0], block[2])),
            prior.logits,
        ]
        weights = {}
        for layer in layers:
            kernel = _cast(layer.kernel, dtype)
            kernel = ops.reshape(kernel, (-1, kernel.shape[-1]))
            if batch == 1 and layer.name == "horizontal_conv":
                kernel = ops.copy(ops.transpose(kernel))
            weights[layer.path] = (kernel, _cast(layer.bias, dtype))
        return weights

    def _row(self, row):
        """The compiled function of a row."""
        height = self.prior.sizes[-1][0]
        prefix = 0
        if self.prior.attentions and row:
            step = max(-(-height // _NUM_PREFIXES), _MIN_PREFIX)
            prefix = min(-(-row // step) * step, height)
        if prefix not in self._rows:
            self._rows[prefix] = compile_function(
                self.prior,
                lambda *args: self._row_function(prefix, *args),
                many_small=True,
            )
        return self._rows[prefix]

    def _position(self, row):
        prior = self.prior
        columns = ops.arange(prior.sizes[-1][1])
        position = prior.row_embedding(row) + prior.column_embedding(columns)
        return ops.cast(position, prior.compute_dtype)  # (W, C)

    def _above_function(self, row, class_vector, condition, rows, embedded):
        """What depends on finished rows only, for the whole row.

        Returns:
            Tuple of the new `rows` and, for each block, what enters the gates
            of its horizontal stack, `(width, batch, 2 * residual_dim)`.
        """
        prior = self.prior
        half = prior.kernel_size // 2
        position = self._position(row)
        first = rows[0]
        if embedded is not None:
            first = ops.concatenate([first, embedded], axis=1)[:, 1:]
        rows = [first, *rows[1:]]
        new_rows, gates = [first], []
        vertical = None
        for i, block in enumerate(prior.blocks):
            x = rows[i]
            if i:
                x = ops.concatenate([x, vertical], axis=1)
                new_rows.append(x[:, 1:])
            x = ops.pad(x, [[0, 0], [0, 0], [half, half], [0, 0]])
            x = block.conditioned(
                block.vertical_conv(x), class_vector, condition, 0
            )
            x = block.vertical_projection(block.gate(*ops.split(x, 2, axis=-1)))
            vertical = vertical + x if i else x + position  # (B, 1, W, C)
            link = block.vertical_to_horizontal(
                vertical if i else vertical - position
            )
            link = block.conditioned(link, class_vector, condition, 1)
            gates.append(ops.transpose(link[:, 0], (1, 0, 2)))  # (W, B, 2R)
        return new_rows, gates

    def _row_function(self, prefix, row, draws, forced, gates, memory, weights):
        """The codes of a row, one column after the other."""
        prior = self.prior
        width = prior.sizes[-1][1]
        half = prior.kernel_size // 2
        number_of_images = ops.shape(draws)[0]
        copies = self._copies
        batch = copies * number_of_images
        dim = prior.hidden_dim
        dtype = prior.compute_dtype
        position = self._position(row)

        def dense(layer, x):
            kernel, bias = weights[layer.path]
            return ops.matmul(x, kernel) + bias

        def gated(block, x, added):
            kernel, bias = weights[block.horizontal_conv.path]
            if batch == 1:
                kernel = ops.transpose(kernel)
            # Split before the sum: XLA would fuse the two, and copy the
            # transposed kernel for it in every turn.
            x = ops.split(ops.matmul(x, kernel), 2, axis=-1)
            added = ops.split(added + bias, 2, axis=-1)
            return block.gate(x[0] + added[0], x[1] + added[1])

        finished = [
            tuple(x[:, :, : prefix * width] for x in layer) for layer in memory
        ]
        draws = ops.transpose(draws)  # (W, B)
        forced = ops.transpose(forced)
        columns = ops.arange(width)
        seen = ops.arange(prefix * width) < row * width

        def body(column, loop):
            taps, row_memory, codes, log_probability, logits_buffer = loop
            here = columns == column  # (W,)
            new_taps = []
            attended = []
            h = None
            for i, block in enumerate(prior.blocks):
                x = taps[i]  # (B, half * C)
                if i:
                    x = ops.concatenate([x, h], axis=-1)
                    new_taps.append(x[:, dim:])
                x = gated(block, x, gates[i][column])
                x = dense(block.horizontal_projection, x)
                h = h + x if i else x + position[column]
                number = prior._attention_after(i)
                if number is not None:
                    x = self._attend(
                        number,
                        h,
                        row,
                        column,
                        seen,
                        finished[number],
                        row_memory[number],
                        dense,
                    )
                    attended.append(h)
                    h = h + dense(prior.attention_projections[number], x)
            logits = prior._output(h, training=False, apply=dense)  # (B, K)
            guided = logits
            if copies == 2:
                logits, free = ops.split(logits, 2)
                guided = free + self.guidance_scale * (logits - free)
            drawn = draw_codes(
                truncate_logits(
                    guided, self.temperature, self.top_k, self.top_p
                ),
                draws[column],
            )
            code = ops.where(forced[column] < 0, drawn, forced[column])
            log_probabilities = ops.log_softmax(logits, axis=-1)
            log_probability = (
                log_probability
                + ops.take_along_axis(
                    log_probabilities, code[:, None], axis=-1
                )[:, 0]
            )
            embedded = prior.code_embedding(ops.tile(code, [copies]))  # (B, C)
            first = ops.concatenate([taps[0], embedded], axis=-1)[:, dim:]
            new_memory = []
            for number, h in enumerate(attended):
                attention = prior.attentions[number]
                key, value = self._key_value(
                    attention,
                    ops.concatenate([h, embedded], axis=-1),
                    row,
                    column,
                    dense,
                )
                new_memory.append(
                    tuple(
                        ops.where(
                            here[None, None, :, None], new[:, :, None], old
                        )
                        for new, old in zip(
                            (key, value), row_memory[number], strict=True
                        )
                    )
                )
            codes = ops.where(here, code[:, None], codes)
            if self.keep_logits:
                logits_buffer = ops.where(
                    here[:, None], logits[:, None], logits_buffer
                )
            return (
                [first, *new_taps],
                new_memory,
                codes,
                log_probability,
                logits_buffer,
            )

        loop = (
            [ops.zeros((batch, half * dim), dtype) for _ in prior.blocks],
            [
                (
                    ops.zeros((batch, a.num_heads, width, a.head_dim), dtype),
                    ops.zeros((batch, a.num_heads, width, a.head_dim), dtype),
                )
                for a in prior.attentions
            ],
            ops.zeros((number_of_images, width), "int32"),
            ops.zeros((number_of_images,), prior.logits_dtype),
            ops.zeros(
                (
                    number_of_images,
                    width if self.keep_logits else 0,
                    prior.num_embeddings,
                ),
                prior.logits_dtype,
            ),
        )
        _, row_memory, codes, log_probability, logits = ops.fori_loop(
            0, width, body, loop
        )
        memory = [
            tuple(
                ops.slice_update(old, (0, 0, row * width, 0), new)
                for old, new in zip(layer, row_layer, strict=True)
            )
            for layer, row_layer in zip(memory, row_memory, strict=True)
        ]
        # (B, 1, W, C)
        embedded = prior.code_embedding(ops.tile(codes, [copies, 1]))[:, None]
        return memory, embedded, codes, log_probability, logits

    def _attend(self, number, h, row, column, seen, memory, row_memory, dense):
        """One query against the finished rows and the row so far."""
        attention = self.prior.attentions[number]
        heads, head_dim = attention.num_heads, attention.head_dim
        dim = heads * head_dim
        query = (
            dense(attention.query, h)
            + self._place(attention, row, column)[:dim]
        )
        query = query / math.sqrt(head_dim)
        query = ops.reshape(query, (-1, heads, 1, head_dim))
        width = self.prior.sizes[-1][1]
        visible = ops.arange(width) < column
        keys, values = [row_memory[0]], [row_memory[1]]
        if memory[0].shape[2]:
            keys.insert(0, memory[0])
            values.insert(0, memory[1])
            visible = ops.concatenate([seen, visible], axis=0)
        logits = ops.concatenate(
            [ops.matmul(query, ops.transpose(k, (0, 1, 3, 2))) for k in keys],
            axis=-1,
        )
        weights = masked_softmax(
            ops.cast(logits, attention.logits_dtype), visible
        )
        weights = ops.cast(weights, h.dtype)
        parts, start = 0.0, 0
        for value in values:
            stop = start + value.shape[2]
            parts = parts + ops.matmul(weights[..., start:stop], value)
            start = stop
        return ops.reshape(parts, (-1, dim))

    def _key_value(self, attention, x, row, column, dense):
        dim = attention.num_heads * attention.head_dim
        key, value = ops.split(dense(attention.key_value, x), 2, axis=-1)
        key = key + self._place(attention, row, column)[dim:]
        shape = (-1, attention.num_heads, attention.head_dim)
        return ops.reshape(key, shape), ops.reshape(value, shape)

    def _place(self, attention, row, column):
        place = ops.take(attention.row_embedding[:, 0], row, axis=0) + ops.take(
            attention.column_embedding[0], column, axis=0
        )
        return ops.cast(place, self.prior.compute_dtype)


def _cast(weight, dtype):
    return ops.cast(ops.convert_to_tensor(weight), dtype)
