"""The cached step of a `PixelSNAILPrior`: its logits, one code at a time.

A full pass for each code would compute all positions over and over. Here what
depends on finished rows only (the vertical stacks, the conditioning) is
computed for a whole row at once when it starts; what remains for a code are
the horizontal stacks' own taps, 1x1 convolutions, and one query of each
attention layer against keys and values that are kept. Nothing is approximated:
the logits are those of the full pass.

    state = start(prior, batch_size, coarser, labels)
    for row in range(height):
        state, row_state = start_row(prior, state, row)
        for column in range(width):
            logits, row_state = step(prior, state, row_state, column)
            code = ...  # drawn from the logits, decoded from a file, or given
            row_state = put(prior, state, row_state, column, code)
        state = end_row(prior, state, row_state)

States are tuples of tensors: they go through compiled functions and loops, and
an old one can be taken up again.
"""

import typing

from keras import ops

from keras_vqvae2.layers._dense_step import apply_dense
from keras_vqvae2.layers._dense_step import dense_weights
from keras_vqvae2.layers._dense_step import row_by_row


class PriorState(typing.NamedTuple):
    """What is kept of the rows of a code map that are finished.

    Args:
        weights: Weights of the step, cast once.
        class_vector: Tensor `(batch, hidden_dim)`, or None.
        condition: Tensor `(batch, height, width, hidden_dim)`, or None.
        above: For each gated block the last rows of its vertical input,
            `(batch, kernel_size // 2, width, hidden_dim)`.
        memory: For each attention layer the pair of keys and values, each
            `(batch, num_heads, positions, head_dim)`.
    """

    weights: dict
    class_vector: typing.Any
    condition: typing.Any
    above: list
    memory: list


class RowState(typing.NamedTuple):
    """What is kept within a row, up to the current column.

    Args:
        row: Number of the row.
        position: Position embeddings `(width, hidden_dim)`.
        above: For each gated block what enters the horizontal gates from
            the rows above, `(width, batch, 2 * residual_dim)`.
        taps: For each gated block the last columns of its horizontal input,
            side by side: `(batch, kernel_size // 2 * hidden_dim)`.
        attended: For each attention layer its input at the current column,
            `(batch, hidden_dim)`, which waits for the code.
        memory: As that of `PriorState`, of the row's own positions.
        codes: Integer tensor `(batch, width)`, the row's codes.
    """

    row: typing.Any
    position: typing.Any
    above: list
    taps: list
    attended: list
    memory: list
    codes: typing.Any


def start(prior, batch_size, coarser=(), labels=None):
    """The state before the first row.

    Args:
        prior: `PixelSNAILPrior`.
        batch_size: Number of images.
        coarser: Integer tensors, the coarser maps.
        labels: Integer tensor `(batch,)`, for a prior that has classes.

    Returns:
        `PriorState`.
    """
    state = start_maps(prior, batch_size, coarser, labels)
    return state._replace(weights=start_weights(prior, batch_size))


def start_weights(prior, batch_size):
    """The `weights` of `start`."""
    dense = [
        *prior.attention_projections,
        *(x for block in prior.output_blocks for x in (block[0], block[2])),
        prior.logits,
    ]
    return {
        "blocks": [
            block.step_weights(transposed=row_by_row(batch_size))
            for block in prior.blocks
        ],
        "attentions": [x.step_weights() for x in prior.attentions],
        "dense": {layer.name: dense_weights(layer) for layer in dense},
    }


def start_maps(prior, batch_size, coarser=(), labels=None):
    """What `start` gives, with None for the weights."""
    height, width = prior.code_shapes[-1]
    past = (batch_size, prior.kernel_size // 2, width, prior.hidden_dim)
    return PriorState(
        weights=None,
        class_vector=prior.embed_class(labels),
        condition=prior.embed_coarser(coarser),
        above=[ops.zeros(past, prior.compute_dtype) for _ in prior.blocks],
        memory=_empty_memory(prior, batch_size, height * width),
    )


def start_row(prior, state, row):
    """Computes what depends on finished rows only, for the whole next row.

    Args:
        prior: `PixelSNAILPrior`.
        state: `PriorState` after the row above.
        row: Number of the row, from 0 on.

    Returns:
        Tuple of the new `PriorState` and the `RowState` before column 0.
    """
    rows, inputs = rows_above(
        prior, state.class_vector, state.condition, state.above, row
    )
    return state._replace(above=rows), empty_row(prior, *inputs)


def rows_above(prior, class_vector, condition, above, row):
    """The convolutions of `start_row`, for compilation by themselves.

    Args:
        prior: `PixelSNAILPrior`.
        class_vector: As that of `PriorState`.
        condition: As that of `PriorState`.
        above: As that of `PriorState`.
        row: As for `start_row`.

    Returns:
        Tuple of the new `above`, and of the arguments of `empty_row`.
    """
    row = ops.convert_to_tensor(row, "int32")
    position = ops.cast(prior.embed_position(row), prior.compute_dtype)
    if condition is not None:
        condition = ops.take(condition, row, axis=1)[:, None]  # (B, 1, W, C)
    rows, inputs, vertical = [], [], None
    for i, block in enumerate(prior.blocks):
        x = above[i]
        if i:
            x = ops.concatenate([x, vertical], axis=1)
        rows.append(x[:, -(prior.kernel_size // 2) :])
        vertical, gates = block.start_row(x, class_vector, condition)
        if i == 0:
            vertical = vertical + position
        inputs.append(ops.transpose(gates, (1, 0, 2)))  # (W, B, 2R)
    return rows, (row, position, inputs)


def empty_row(prior, row, position, above):
    """The `RowState` before column 0, of the first of its parts."""
    width, batch, _ = ops.shape(above[0])
    dim, dtype = prior.hidden_dim, prior.compute_dtype
    taps = (batch, prior.kernel_size // 2 * dim)
    return RowState(
        row=row,
        position=position,
        above=above,
        taps=[ops.zeros(taps, dtype) for _ in prior.blocks],
        attended=[ops.zeros((batch, dim), dtype) for _ in prior.attentions],
        memory=_empty_memory(prior, batch, width),
        codes=ops.zeros((batch, width), "int32"),
    )


def step(prior, state, row_state, column):
    """Logits of the next column, once all codes before it are `put`.

    Args:
        prior: `PixelSNAILPrior`.
        state: `PriorState` of `start_row`.
        row_state: `RowState` of `start_row` or, for the column before, `put`.
        column: Number of the column, from 0 on.

    Returns:
        Tuple of the logits `(batch, num_embeddings)` and the `RowState` for
        `put`.
    """
    dim = prior.hidden_dim
    taps, attended, h = [row_state.taps[0]], [], None
    for i, block in enumerate(prior.blocks):
        x = row_state.taps[i]  # (B, taps * hidden_dim)
        if i:
            x = ops.concatenate([x, h], axis=-1)
            taps.append(x[:, dim:])
        h = block.step(
            x, row_state.above[i][column], state.weights["blocks"][i]
        )
        if i == 0:
            h = h + row_state.position[column]
        number = prior.attention_after(i)
        if number is not None:
            attended.append(h)
            h = h + _attend(prior, state, row_state, column, number, h)
    logits = prior.output_logits(h, apply=_dense(state))
    return logits, row_state._replace(taps=taps, attended=attended)


def put(prior, state, row_state, column, codes):
    """Takes the codes of a column, for the columns after it.

    Args:
        prior: `PixelSNAILPrior`.
        state: `PriorState` of `start_row`.
        row_state: `RowState` of `step`.
        column: Number of the column, as for `step`.
        codes: Int32 tensor `(batch,)`.

    Returns:
        `RowState` for the next column's `step`, or for `end_row`.
    """
    embedded = prior.code_embedding(codes)  # (B, hidden_dim)
    first = ops.concatenate([row_state.taps[0], embedded], axis=-1)
    here = ops.arange(prior.code_shapes[-1][1]) == column  # (W,)
    memory = []
    for i, attention in enumerate(prior.attentions):
        new = attention.step_key_value(
            ops.concatenate([row_state.attended[i], embedded], axis=-1),
            row_state.row,
            column,
            state.weights["attentions"][i],
        )
        memory.append(
            tuple(
                ops.where(here[:, None], x, old)  # (B, heads, W, d)
                for x, old in zip(new, row_state.memory[i], strict=True)
            )
        )
    return row_state._replace(
        taps=[first[:, prior.hidden_dim :], *row_state.taps[1:]],
        memory=memory,
        codes=ops.where(here, codes[:, None], row_state.codes),
    )


def end_row(prior, state, row_state):
    """Takes a finished row, for the rows below it.

    Args:
        prior: `PixelSNAILPrior`.
        state: `PriorState` of `start_row`.
        row_state: `RowState` of the last column's `put`.

    Returns:
        `PriorState` for the next `start_row`.
    """
    embedded = prior.code_embedding(row_state.codes)[:, None]  # (B, 1, W, C)
    first = ops.concatenate([state.above[0], embedded], axis=1)[:, 1:]
    position = row_state.row * prior.code_shapes[-1][1]
    memory = [
        tuple(
            ops.slice_update(old, (0, 0, position, 0), new)
            for old, new in zip(whole, row, strict=True)
        )
        for whole, row in zip(state.memory, row_state.memory, strict=True)
    ]
    return state._replace(above=[first, *state.above[1:]], memory=memory)


def crop_memory(prior, state, rows):
    """The state with the memory of the first `rows` rows only.

    For `step`, which then computes less; `rows` is static and not less than
    the number of finished rows.
    """
    positions = rows * prior.code_shapes[-1][1]
    memory = [tuple(x[:, :, :positions] for x in pair) for pair in state.memory]
    return state._replace(memory=memory)


def _attend(prior, state, row_state, column, number, x):
    """What an attention layer adds at a column."""
    width = prior.code_shapes[-1][1]
    finished = state.memory[number][0].shape[2]
    memory = [row_state.memory[number]]
    visible = ops.arange(width) < column
    if finished:
        memory.insert(0, state.memory[number])
        visible = ops.concatenate(
            [ops.arange(finished) < row_state.row * width, visible], axis=0
        )
    x = prior.attentions[number].step(
        x,
        row_state.row,
        column,
        memory,
        visible,
        state.weights["attentions"][number],
    )
    return _dense(state)(prior.attention_projections[number], x)


def _dense(state):
    """Applies a Dense layer of the prior with the state's weights."""
    return lambda layer, x: apply_dense(state.weights["dense"][layer.name], x)


def _empty_memory(prior, batch_size, positions):
    return [
        tuple(
            ops.zeros(
                (batch_size, a.num_heads, positions, a.head_dim),
                prior.compute_dtype,
            )
            for _ in ("keys", "values")
        )
        for a in prior.attentions
    ]
