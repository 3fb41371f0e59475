"""How a prior's weights are split over devices."""

import keras


def prior_layout_map(
    device_mesh,
    model_parallel_dim_name="model",
    data_parallel_dim_name="batch",
):
    """How `keras.distribution.ModelParallel` splits a prior's weights.

    The gates and residual units of each block lie on different devices:
    the first layer of a pair is split by its outputs, the second by its
    inputs, so that their sum alone crosses devices. Embeddings, logits
    and the biases of second layers are whole on each device.

    Args:
        device_mesh: `keras.distribution.DeviceMesh` with both axes.
            `residual_dim` and `hidden_dim` must be multiples of the size
            of the model's axis.
        model_parallel_dim_name: Name of the axis that weights are split
            along.
        data_parallel_dim_name: Name of the axis that batches are split
            along.

    Returns:
        `keras.distribution.LayoutMap`.

    Raises:
        ValueError: If the mesh lacks an axis.
    """
    for name in (model_parallel_dim_name, data_parallel_dim_name):
        if name not in device_mesh.axis_names:
            raise ValueError(
                f"The device mesh has no axis {name!r}. It has: "
                f"{', '.join(device_mesh.axis_names)}."
            )
    axis = model_parallel_dim_name
    layout_map = keras.distribution.LayoutMap(device_mesh)
    conv, dense = (None, None, None), (None,)
    for first, before in (
        (r"block_\d+/(vertical|horizontal)_conv", conv),
        (r"block_\d+/vertical_to_horizontal", conv),
        (r"block_\d+/condition_projection", conv),
        (r"block_\d+/class_projection", dense),
        (r"attention_\d+/(query|key_value)", dense),
        (r"condition_stack/block_\d+_conv3", conv),
        (r"output_\d+_residual", dense),
    ):
        layout_map[f".*/{first}/kernel"] = (*before, axis)
    for biased in (
        r"block_\d+/(vertical|horizontal)_conv",
        r"attention_\d+/(query|key_value)",
        r"condition_stack/block_\d+_conv3",
        r"output_\d+_residual",
    ):
        layout_map[f".*/{biased}/bias"] = (axis,)
    for second, before in (
        (r"block_\d+/(vertical|horizontal)_projection", (None, None)),
        (r"attention_projection_\d+", ()),
        (r"condition_stack/block_\d+_conv1", (None, None)),
        (r"output_\d+_hidden", ()),
    ):
        layout_map[f".*/{second}/kernel"] = (*before, axis, None)
    return layout_map
