from keras_vqvae2.arguments import check_integer

SEED_LIMIT = 2**63
# Of the uint8 pixels of a batch. What a model makes of them takes far more.
MAX_BATCH_BYTES = 2**34


def check_arguments(
    image_size, batch_size, seed, start_step, resize, shard, training
):
    """Raises ValueError now, not later in a worker thread."""
    check_integer("image_size", image_size)
    check_integer("batch_size", batch_size)
    check_integer("seed", seed, minimum=0)
    check_integer("start_step", start_step, minimum=0)
    if seed >= SEED_LIMIT:
        raise ValueError(f"`seed` must be below 2**63. Received: {seed}")
    if start_step and not training:
        raise ValueError(
            f"start_step={start_step} needs training=True: the validation "
            "stream is one finite pass from the first image."
        )
    if resize is not None:
        check_integer("resize", resize)
        if resize < image_size:
            raise ValueError(
                f"`resize={resize}` is less than `image_size={image_size}`: a "
                "crop of that size would not fit. Pass a greater `resize`, or "
                "none to crop at the image's own resolution."
            )
    if not isinstance(shard, tuple | list) or len(shard) != 2:
        raise ValueError(
            f"`shard` must be a pair (index, count). Received: {shard!r}"
        )
    index, count = shard
    check_integer("shard[1]", count)
    check_integer("shard[0]", index, minimum=0)
    if index >= count:
        raise ValueError(
            f"`shard` must have an index below its count: workers are "
            f"numbered from 0. Received: {shard!r}"
        )
    if batch_size % count:
        raise ValueError(
            f"batch_size={batch_size} is the batch of all workers together and "
            f"cannot be split evenly among {count}. Pass a multiple of {count}."
        )
    if 3 * (batch_size // count) * image_size**2 > MAX_BATCH_BYTES:
        raise ValueError(
            f"{batch_size // count} images of {image_size}x{image_size} have "
            f"more than {MAX_BATCH_BYTES >> 30} GiB of pixels: pass a smaller "
            "`batch_size` or `image_size`."
        )
