import keras


class SavedSeeds:
    """Saves the states of a layer's seed generators with its weights.

    Keras leaves them out of `.keras` and `.weights.h5` files, so that training
    that goes on from one would draw again what it drew at its start. Files
    without them are read as ever. Mixed in before `keras.layers.Layer`.
    """

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for i, state in enumerate(seed_states(self)):
            store[f"seed_{i}"] = keras.ops.convert_to_numpy(state)

    def load_own_variables(self, store):
        names = list(store.keys())
        super().load_own_variables(
            {k: store[k] for k in names if not k.startswith("seed_")}
        )
        for i, state in enumerate(seed_states(self)):
            if f"seed_{i}" in names:
                state.assign(store[f"seed_{i}"])


def seed_states(layer):
    """Variables of a layer or model that are neither weights nor metrics."""
    others = {id(weight) for weight in layer.weights}
    others |= {id(variable) for variable in layer.metrics_variables}
    return [v for v in layer.variables if id(v) not in others]
