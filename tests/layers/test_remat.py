import keras
import numpy as np

from keras_vqvae2.backend.remat import given_seeds


def test_given_seeds_are_the_same_again_and_differ_within():
    generator = keras.random.SeedGenerator(3)
    seed = generator.next()

    def draw(number):
        return [
            keras.ops.convert_to_numpy(generator.next()).tolist()
            for _ in range(number)
        ]

    with given_seeds([generator], [seed]):
        first = draw(3)
        with given_seeds([generator], [seed]):
            assert draw(2) == first[:2]
        (fourth,) = draw(1)
    with given_seeds([generator], [seed]):
        assert draw(4) == [*first, fourth]
    assert first[0] == keras.ops.convert_to_numpy(seed).tolist()
    assert len(np.unique([*first, fourth], axis=0)) == 4
    assert draw(1)[0] not in [*first, fourth]
