import json
import math

import keras
import numpy as np
import pytest
from keras import ops
from reference import Reference
from tiny_models import VQVAE_SIZES
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.models.hierarchical_vqvae import level_names
from keras_vqvae2.weights import weight_names

SIZES = {**VQVAE_SIZES, "num_residual_blocks": 1}


def make(strides=(4, 2), **arguments):
    return make_vqvae(strides, **{**SIZES, **arguments})


def images(batch=2, height=16, width=32, seed=0):
    shape = (batch, height, width, 3)
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, dtype="uint8")


def numpy(x):
    return ops.convert_to_numpy(x)


def spread(model):
    """Moves every weight from its start, the biases from zero too."""
    for weight in model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape) / 20)
    return model


@pytest.mark.parametrize(
    ("strides", "sizes", "decay"),
    [
        ((8,), [(2, 3)], 0.99),
        ((4, 2), [(2, 3), (4, 6)], None),
        ((2, 2, 2), [(2, 3), (4, 6), (8, 12)], 0.99),
        ((2, 4, 2, 2), [(1, 1), (2, 2), (4, 4), (16, 16)], None),
    ],
)
def test_any_number_of_levels(strides, sizes, decay):
    model = make(strides, decay=decay, num_residual_blocks=0)
    height = sizes[-1][0] * strides[0]
    width = sizes[-1][1] * strides[0]
    x = images(2, height, width)
    codes = model.encode(x)
    assert [tuple(c.shape) for c in codes] == [(2, *size) for size in sizes]
    assert model.code_shapes(height, width) == tuple(sizes)
    assert all(
        keras.backend.standardize_dtype(level_codes.dtype) == "int32"
        for level_codes in codes
    )
    for levels in range(1, len(strides) + 1):
        decoded = model.decode(codes[:levels], levels)
        assert tuple(decoded.shape) == x.shape
    reconstructions, called_codes = model(x)
    np.testing.assert_array_equal(
        numpy(decoded), np.clip(numpy(reconstructions), 0, 255)
    )
    for ours, theirs in zip(codes, called_codes, strict=True):
        np.testing.assert_array_equal(numpy(ours), numpy(theirs))
    entry = keras.Input((height, width, 3))
    symbolic, symbolic_codes = model(entry)
    assert symbolic.shape == (None, height, width, 3)
    assert [c.shape[1:] for c in symbolic_codes] == sizes


def test_names_of_the_levels():
    assert level_names(1) == ("top",)
    assert level_names(2) == make().level_names == ("top", "bottom")
    assert level_names(3) == ("top", "middle", "bottom")
    assert level_names(4) == ("top", "middle_1", "middle_2", "bottom")


def test_one_level_is_the_original():
    """Encoder, codebook, decoder; nothing conditions on anything."""
    model = make((4,))
    parts = {name.split("/")[0] for name in weight_names(model)}
    assert parts == {
        "encoder_top",
        "projection_top",
        "quantizer_top",
        "decoder_top",
    }
    x = images()
    features = model.encoders[0](x.astype("float32") / 127.5 - 1)
    quantized, codes = model.quantizers[0](model.projections[0](features))
    decoded = model.decoders[0](quantized)
    reconstructions, called_codes = model(x)
    np.testing.assert_array_equal(numpy(codes), numpy(called_codes[0]))
    np.testing.assert_allclose(
        numpy(reconstructions), (numpy(decoded) + 1) * 127.5, rtol=1e-4
    )


@pytest.mark.parametrize("num_residual_blocks", [0, 2])
def test_two_levels_compute_the_reference(num_residual_blocks):
    model = spread(make(num_residual_blocks=num_residual_blocks))
    x = images(seed=1)
    model(x, training=True)  # Fills the codebooks.
    weights = dict(
        zip(weight_names(model), map(numpy, model.weights), strict=True)
    )
    reconstructions, codes = model(x)
    expected, _, expected_codes = Reference(weights)(x)
    for ours, theirs in zip(codes, expected_codes, strict=True):
        assert len(np.unique(theirs)) > 5
        np.testing.assert_array_equal(numpy(ours), theirs)
    assert expected.std() > 0.05
    np.testing.assert_allclose(
        numpy(reconstructions) / 127.5 - 1, expected, atol=1e-4
    )


def test_sizes_of_table_5():
    model = keras_vqvae2.HierarchicalVQVAE()
    assert model.strides == (4, 2)
    assert model.commitment_cost == 0.25 and model.decay == 0.99
    shapes = {
        name: tuple(weight.shape)
        for name, weight in zip(weight_names(model), model.weights, strict=True)
    }
    for level in ("top", "bottom"):
        assert shapes[f"quantizer_{level}/embeddings"] == (512, 64)
        for part in ("encoder", "decoder"):
            stack = f"{part}_{level}/residual_stack"
            for block in range(2):
                name = f"{stack}/block_{block}"
                assert shapes[f"{name}_conv3/kernel"] == (3, 3, 128, 64)
                assert shapes[f"{name}_conv1/kernel"] == (1, 1, 64, 128)
            assert f"{stack}/block_2_conv3/kernel" not in shapes
    assert shapes["encoder_bottom/downsample_0/kernel"] == (4, 4, 3, 64)
    assert shapes["encoder_bottom/downsample_1/kernel"] == (4, 4, 64, 128)
    assert shapes["encoder_top/downsample_0/kernel"] == (4, 4, 128, 64)
    assert shapes["encoder_top/conv/kernel"] == (3, 3, 64, 128)
    assert shapes["projection_bottom/kernel"] == (1, 1, 192, 64)
    assert shapes["decoder_bottom/conv/kernel"] == (3, 3, 128, 128)
    assert shapes["decoder_bottom/upsample_1/kernel"] == (4, 4, 3, 64)
    assert model.code_shapes(256, 256) == ((32, 32), (64, 64))
    assert shapes["upsample_top_0/kernel"] == (4, 4, 64, 64)

    def conv(size, inputs, outputs):
        return size * size * inputs * outputs + outputs

    stack = 2 * (conv(3, 128, 64) + conv(1, 64, 128))
    total = (
        conv(4, 3, 64) + conv(4, 64, 128) + conv(3, 128, 128) + stack
        + conv(4, 128, 64) + conv(3, 64, 128) + stack
        + conv(1, 128, 64) + conv(1, 192, 64)
        + conv(3, 64, 128) + stack + conv(4, 128, 64)
        + conv(4, 64, 64)
        + conv(3, 128, 128) + stack + conv(4, 128, 64) + conv(4, 64, 3)
    )  # fmt: skip
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == total


def test_config():
    config = {
        "strides": (2, 4),
        **SIZES,
        "commitment_cost": 0.5,
        "decay": None,
        "dead_code_threshold": 0.2,
        "level_dropout": 0.3,
        "num_channels": 1,
        "seed": 7,
        "skip_relu": True,
    }
    model = keras_vqvae2.HierarchicalVQVAE(**config, dtype="mixed_bfloat16")
    got = model.get_config()
    base = {key: got[key] for key in ("name", "trainable", "dtype")}
    assert got == {**base, **config}
    text = json.dumps(keras.saving.serialize_keras_object(model))
    copy = keras.saving.deserialize_keras_object(json.loads(text))
    assert copy.get_config() == got
    assert weight_names(copy) == weight_names(model)
    for part in (*model.encoders, *model.decoders):
        assert part.residual_stack.skip_relu
    for level, quantizer in enumerate(reversed(model.quantizers)):
        assert isinstance(quantizer, keras_vqvae2.layers.VectorQuantizer)
        assert quantizer.dtype_policy.name == "mixed_bfloat16"
        assert quantizer.commitment_cost == 0.5
        assert quantizer.dead_code_threshold == 0.2
        assert quantizer.seed == 7 + level
    names = weight_names(make())
    assert names == weight_names(make(name="other"))


def test_layers_go_coarse_to_fine():
    model = make()
    for kind in ("encoder", "projection", "quantizer", "decoder"):
        names = [layer.name for layer in getattr(model, f"{kind}s")]
        assert names == [f"{kind}_{name}" for name in model.level_names]
    assert [len(layers) for layers in model.upsamples] == [1, 0]


def test_decay_reaches_the_quantizers():
    assert [q.decay for q in make(decay=0.9).quantizers] == [0.9, 0.9]


def test_levels_replaced_by_the_mean():
    model = spread(make())
    x = images()
    model(x, training=True)
    top, bottom = model.encode(x)
    coarse = numpy(model.decode((top,), levels=1))
    np.testing.assert_array_equal(
        coarse, numpy(model.decode((top, bottom), levels=1))
    )
    assert np.any(coarse != numpy(model.decode((top, bottom))))
    # By hand: the mean vector of the bottom codebook at every place.
    quantizer = model.quantizers[-1]
    counts, codebook = numpy(quantizer.counts), numpy(quantizer.codebook)
    mean = (counts / counts.sum()) @ codebook
    quantizer.embeddings.assign(np.tile(mean, (16, 1)))
    np.testing.assert_allclose(
        coarse, numpy(model.decode((top, bottom))), atol=1e-2
    )


def test_level_dropout():
    model = spread(make(level_dropout=1.0))
    x = images(8)
    model(x, training=True)
    for quantizer in model.quantizers:
        quantizer.trainable = False
    dropped, codes = model(x, training=True)
    coarse = numpy(model.decode(codes, levels=1))
    np.testing.assert_allclose(
        np.clip(numpy(dropped), 0, 255), coarse, atol=1e-2
    )
    whole = numpy(model(x)[0])
    assert np.any(np.abs(whole - numpy(dropped)) > 1)
    model.level_dropout = 0.5
    some = numpy(model(x, training=True)[0])
    is_whole = np.isclose(some, whole, atol=1e-2).all((1, 2, 3))
    is_coarse = np.isclose(some, numpy(dropped), atol=1e-2).all((1, 2, 3))
    assert (is_whole ^ is_coarse).all()
    assert is_whole.any() and is_coarse.any()


def test_bits_per_image():
    assert make(num_embeddings=512).bits_per_image(256, 256) == 5120 * 9
    assert make((2, 2)).bits_per_image(8, 8) == (16 + 4) * 4


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_pixels_and_codes_exact(policy):
    model = make(dtype=policy)
    reconstructions, codes = model(images())
    assert keras.backend.standardize_dtype(reconstructions.dtype) == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    decoded = model.decode(codes)
    np.testing.assert_array_equal(
        numpy(decoded), np.clip(numpy(reconstructions), 0, 255)
    )
    assert model.encoders[0].compute_dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize(
    "dtype", ["uint8", "int64", "float16", "float32", "float64"]
)
def test_dtypes_of_images(dtype):
    model = make()
    x = images()
    for ours, theirs in zip(
        model.encode(x.astype(dtype)), model.encode(x), strict=True
    ):
        np.testing.assert_array_equal(numpy(ours), numpy(theirs))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((16, 16, 3)), ValueError, r"\(16, 16, 3\).*image\[None\]"),
        (np.zeros((2, 3, 16, 16)), ValueError, r"np.moveaxis\(x, 1, -1\)"),
        (np.zeros((2, 16, 16, 1)), ValueError, r"Repeat the grey channel"),
        (np.zeros((2, 16, 16, 4)), ValueError, r"Drop the alpha channel"),
        (np.zeros((0, 16, 16, 3)), ValueError, r"nothing in them"),
        (np.zeros((2, 12, 16, 3)), ValueError, r"multiples of.*8.*12x16"),
        (np.zeros((2, 16, 9, 3)), ValueError, r"multiples of.*8.*16x9"),
        (images() / 255, ValueError, r"must be 0..255.*pass `255 \* x`"),
        (images() / 127.5 - 1, ValueError, r"pass `127.5 \* \(x \+ 1\)`"),
        (images() - 10.0, ValueError, r"0..255.*values from -10 to"),
        (images() * 257.0, ValueError, r"0..255.*to 65"),
        (images().astype("int32") - 1, ValueError, r"values from -1 to"),
        (images() + np.nan, ValueError, r"must be finite.*nan"),
        (images() + np.inf, ValueError, r"must be finite.*inf"),
        (images() > 9, TypeError, r"uint8 or float.*bool"),
        (images() * 1j, TypeError, r"uint8 or float.*complex128"),
        (None, ValueError, r"must have shape .* Received shape \(\)"),
        ("cat.png", ValueError, r"must have shape .* Received shape \(\)"),
    ],
)
def test_bad_images(x, error, message):
    model = make(num_residual_blocks=0)
    with pytest.raises(error, match=message):
        model.encode(x)
    if x is not None and getattr(x, "dtype", None) is not None:
        model.compile("sgd")
        with pytest.raises(error, match=message):
            model.fit(x, verbose=0)


@pytest.mark.parametrize(
    "x", [None, 5, "photos", {"x": images()}, [images()[0]], images().tolist()]
)
def test_fit_wants_images(x):
    model = make(num_residual_blocks=0)
    model.compile("sgd")
    with pytest.raises(TypeError, match="`fit` takes images as an array"):
        model.fit(x, verbose=0)


def test_bad_images_in_a_dataset():
    tf = pytest.importorskip("tensorflow")
    model = make(num_residual_blocks=0)
    model.compile("sgd")
    for x, message in (
        (images() / 255.0, "pass `255"),
        (images(2, 12, 16), "multiples of"),
        (images()[..., :1], "grey"),
        ((images() / 255.0, np.zeros(2)), "pass `255"),
    ):
        dataset = tf.data.Dataset.from_tensor_slices(x).batch(2)
        with pytest.raises(ValueError, match=message):
            model.fit(dataset, verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices({"image": images()}).batch(2)
    with pytest.raises(ValueError, match="must hold images.*of type dict"):
        model.fit(dataset, verbose=0)


TOP, BOTTOM = np.zeros((2, 2, 4), "int32"), np.zeros((2, 4, 8), "int32")


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ((TOP,), r"tuple of 2 maps, coarse to fine \(top, bottom\).*1 maps"),
        ((TOP, BOTTOM, BOTTOM), r"tuple of 2 maps.*Received 3 maps"),
        (TOP, r"tuple of 2 maps.*Received a ndarray"),
        ((TOP[0], BOTTOM[0]), r"top map must have shape \(batch, height, wi"),
        ((TOP, BOTTOM[:1]), r"bottom map must have shape \(2, 4, 8\).*\(1, 4"),
        ((BOTTOM, TOP), r"bottom map must have shape \(2, 8, 16\), 2 times"),
        ((TOP, BOTTOM + 16), r"must be in 0..15. The bottom map .* 16 to 16"),
        ((TOP - 1, BOTTOM), r"must be in 0..15. The top map .* -1 to -1"),
        ((TOP / 1, BOTTOM), r"Codes must be integers. Received float64"),
        ((TOP > 0, BOTTOM), r"Codes must be integers. Received bool"),
        ((TOP[:0], BOTTOM[:0]), r"The top map is empty: \(0, 2, 4\)"),
    ],
)
def test_bad_codes(codes, message):
    with pytest.raises(ValueError, match=message):
        make(num_residual_blocks=0).decode(codes)


@pytest.mark.parametrize("levels", [0, 3, -1, "top", 1.5])
def test_bad_levels(levels):
    with pytest.raises(ValueError, match=r"`levels` must be 1 to 2.*Received"):
        make(num_residual_blocks=0).decode((TOP, BOTTOM), levels=levels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": 4}, r"`strides` must be a list.*\(4, 2\).*: 4"),
        ({"strides": ()}, r"`strides` must be a list.*: \(\)"),
        ({"strides": None}, r"`strides` must be a list.*: None"),
        (
            {"strides": (3, 2)},
            r"`strides` must be .* powers.*: \(3, 2\)",
        ),
        ({"strides": ("4", 2)}, r"`strides` must be .* powers.*: \('4', 2\)"),
        ({"strides": (128,)}, r"powers of two in 2..64.*: \(128,\)"),
        ({"hidden_dim": 7}, "`hidden_dim` must be an even integer .*: 7"),
        ({"residual_dim": 0}, "`residual_dim` must be an integer.*: 0"),
        ({"residual_dim": 8193}, "`residual_dim` must be .* in 1..8192"),
        ({"num_residual_blocks": 33}, "`num_residual_blocks` must .* 0..32"),
        (
            {"hidden_dim": 8192, "residual_dim": 8192},
            "a model of up to .* parameters, more than the",
        ),
        ({"num_residual_blocks": -1}, "`num_residual_blocks` must .*: -1"),
        ({"num_embeddings": 0}, "`num_embeddings` must be an integer.*: 0"),
        ({"embedding_dim": 0}, "`embedding_dim` must be an integer.*: 0"),
        ({"embedding_dim": 2.0}, "`embedding_dim` must be an integer.*: 2.0"),
        ({"commitment_cost": -1}, "`commitment_cost` must be a number.*: -1"),
        ({"commitment_cost": math.inf}, "`commitment_cost` must be .*: inf"),
        ({"decay": 1.5}, "`decay` must be None or .* between 0 and 1. .*: 1.5"),
        ({"dead_code_threshold": 2}, r"`dead_code_threshold` .*: 2"),
        ({"level_dropout": 1.5}, r"`level_dropout` must be .* most 1.*: 1.5"),
        ({"level_dropout": math.nan}, "`level_dropout` must be .*: nan"),
        ({"num_channels": 0}, "`num_channels` must be an integer.*: 0"),
        ({"num_channels": "3"}, "`num_channels` must be an integer.*: '3'"),
        ({"seed": None}, "`seed` must be an integer.* Received: None"),
        ({"seed": "a"}, "`seed` must be an integer.* Received: 'a'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("value", [math.nan, -1, 5, "0.5", None, True])
def test_level_dropout_is_checked_when_it_is_set(value):
    model = make(num_residual_blocks=0)
    with pytest.raises(ValueError, match="`level_dropout` must be a number"):
        model.level_dropout = value


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (keras.optimizers.Adam(math.nan), "learning_rate"),
        (keras_vqvae2.training.Muon(-1.0), "learning_rate"),
        (keras.optimizers.SGD(math.inf), "learning_rate"),
        (keras.optimizers.SGD(global_clipnorm=math.nan), "global_clipnorm"),
        (keras.optimizers.SGD(clipvalue=-1.0), "clipvalue"),
    ],
)
def test_compile_checks_the_optimizers_numbers(optimizer, name):
    model = make(num_residual_blocks=0)
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number"):
        model.compile(optimizer)


def test_codebooks_must_fit_an_average_of_the_weights():
    def compile(momentum, **options):
        model = make(num_residual_blocks=0, **options)
        model.compile(
            keras.optimizers.Adam(use_ema=True, ema_momentum=momentum)
        )

    with pytest.raises(ValueError, match="own decay, 0.9: .* Received: 0.99"):
        compile(0.99, decay=0.9)
    compile(0.9, decay=0.9)
    compile(0.99, decay=None)


def test_arguments_may_be_numpys():
    sizes = {name: np.int64(value) for name, value in VQVAE_SIZES.items()}
    model = keras_vqvae2.HierarchicalVQVAE(
        tuple(np.array([4, 2])), **sizes, decay=np.float32(0.5)
    )
    json.dumps(model.get_config())


@pytest.mark.parametrize("argument", ["loss", "metrics", "loss_weights"])
def test_compile_has_no_losses(argument):
    with pytest.raises(ValueError, match=f"its own loss.*leave out {argument}"):
        make(num_residual_blocks=0).compile("adam", **{argument: ["mse"]})
