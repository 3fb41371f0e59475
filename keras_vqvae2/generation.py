"""`generate` of a model: new images by the priors of its levels."""

import functools

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.sampling import rejection
from keras_vqvae2.sampling.cached_sampler import CachedSampler
from keras_vqvae2.sampling.fixed_point_sampler import FixedPointSampler
from keras_vqvae2.sampling.generate import generate_codes


class GenerateMixin:
    """New images of a model.

    A class with it has the attributes `vqvae`, `priors` and `labels`, a dict
    `_samplers`, and the method `decode`.
    """

    def load_prior(self, level):
        """The `PixelSNAILPrior` of a level; from its file if it has one.

        Args:
            level: Name of the level: `"top"`, ...

        Raises:
            ValueError: If there is none.
        """
        self._check_prior(level)
        return self.priors[level]

    def _check_prior(self, level):
        if level not in self.priors:
            raise ValueError(
                f"There is no prior of the level {level!r}, so no codes can be "
                "generated. This model has priors for: "
                f"{', '.join(self.priors) or 'none'}."
            )

    def keep_priors(self, max_bytes=None):
        """Keeps priors in memory, for many calls of `generate`.

        Small ones stay by themselves once they were used: up to 256 MiB
        together, at 4 bytes a parameter. Larger ones are loaded and compiled
        in each call, one at a time, so that only one takes memory.

        Args:
            max_bytes: None loads all priors now and keeps them. A number is
                the bound from now on, in place of 256 MiB; those that are
                kept are let go. 0 keeps none.

        Returns:
            This model.

        Raises:
            ValueError: If `max_bytes` is no integer, or negative.

        Example:

        ```python
        model = keras_vqvae2.from_pretrained("vqvae2-cifar10").keep_priors()
        assert all(prior.built for prior in model.priors.values())
        ```
        """
        if max_bytes is None:
            self.priors.keep()
        else:
            self.priors.keep_bytes = check_integer(
                "max_bytes", max_bytes, minimum=0
            )
            self.priors.let_go()
            self._samplers.clear()
        return self

    def label_numbers(self, labels):
        """Labels with the numbers of classes instead of their names.

        Args:
            labels: List of names and integers, an array of integers, or None.

        Returns:
            A list if there are names, else `labels` as it is.

        Raises:
            ValueError: If the model has no class of a name.

        Example:

        ```python
        model = keras_vqvae2.from_pretrained("vqvae2-cifar10")
        assert model.label_numbers(["cat", "dog", 9]) == [3, 5, 9]
        ```
        """
        if not isinstance(labels, (list, tuple)) or not any(
            isinstance(label, str) for label in labels
        ):
            return labels
        names = self.labels or ()
        for label in labels:
            if isinstance(label, str) and label not in names:
                has = ", ".join(names) or "none that have names"
                raise ValueError(
                    f"There is no class {label!r}. This model has: {has}."
                )
        return [
            names.index(label) if isinstance(label, str) else label
            for label in labels
        ]

    def load_sampler(self, level, *, parallel=False, **options):
        """The `sampling.CachedSampler` of a level.

        That of a prior that is kept is kept as well, until one with other
        options is asked for: it need not be compiled again.

        Args:
            level: Name of the level: `"top"`, ...
            parallel: Whether to take a `FixedPointSampler` instead.
            **options: Arguments of `CachedSampler` but `prior`.

        Raises:
            ValueError: If there is no such prior, or an option does not fit.
        """
        prior = self.load_prior(level)
        kind = FixedPointSampler if parallel else CachedSampler
        kept_options, sampler = self._samplers.get(level, (None, None))
        if kept_options != (kind, options) or sampler.prior is not prior:
            sampler = kind(prior, **options)
            if self.priors.is_kept(level):
                self._samplers[level] = (kind, options), sampler
        return sampler

    def generate_codes(
        self,
        num_images=None,
        labels=None,
        *,
        codes=(),
        temperature=1.0,
        top_k=None,
        top_p=None,
        guidance_scale=1.0,
        parallel=False,
        **options,
    ):
        """Codes of new images, as `generate` decodes them.

        Args:
            num_images: As for `generate`.
            labels: As for `generate`.
            codes: As for `generate`.
            temperature: As for `generate`.
            top_k: As for `generate`.
            top_p: As for `generate`.
            guidance_scale: As for `generate`.
            parallel: As for `generate`.
            **options: Other arguments of `sampling.generate_codes`.

        Returns:
            Tuple of int32 arrays `(num_images, height_i, width_i)`, coarse to
            fine.

        Raises:
            ValueError: As `generate`.
        """
        labels = self.label_numbers(labels)
        names = self.vqvae.level_names
        if not isinstance(codes, (list, tuple)):
            raise TypeError(
                "`codes` must be a tuple of maps, coarse to fine. Received a "
                f"{type(codes).__name__}."
            )
        if len(codes) > len(names):
            raise ValueError(
                f"This model has {len(names)} levels. Received `codes` of "
                f"{len(codes)}."
            )
        for level in names[len(codes) :]:  # now, not after the first level
            self._check_prior(level)
        load_sampler = functools.partial(
            self.load_sampler,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            guidance_scale=guidance_scale,
            parallel=parallel,
        )
        return generate_codes(
            names, load_sampler, num_images, labels, codes=codes, **options
        )

    def generate(
        self,
        num_images=None,
        labels=None,
        *,
        codes=(),
        temperature=1.0,
        top_k=None,
        top_p=None,
        guidance_scale=1.0,
        seed=0,
        batch_size=16,
        verbose=0,
        on_row=None,
        classifier=None,
        num_candidates=1,
        parallel=False,
    ):
        """New images, level by level (algorithm 2).

        Image k depends on `seed`, k and its label alone, not on the number of
        images nor on the batch size. Each prior is loaded when its turn comes,
        and let go after it unless it is small; see `keep_priors`.

        Args:
            num_images: Number of images; with `labels` it can be left out.
            labels: Class of each image, for a model that has classes: numbers,
                or names of `labels`.
            codes: Given maps of the coarsest levels, arrays `(num_images,
                height_i, width_i)`: only the others are drawn.
            temperature: Divides the logits: below 1 for likelier images.
            top_k: Draw from this many likeliest codes only, or None.
            top_p: Draw from the likeliest codes of this probability, or None.
            guidance_scale: Above 1 for images that are more typical of their
                class and less varied, at twice the work (classifier-free
                guidance); for priors that were trained with `class_dropout`.
            seed: Integer that fixes the images.
            batch_size: Images at a time.
            verbose: 1 for a progress bar for each level, 0 for none.
            on_row: Function called after each row of codes with the level's
                name, the finished rows of all images and their number in the
                end, for a progress bar of one's own; or None.
            classifier: Keras model from images, pixel values 0..255, to one
                logit or probability for each class; with `num_candidates`.
            num_candidates: Candidates that are drawn for each image. The one
                is kept to which `classifier` gives the label with the greatest
                probability (section 3.3): less variety, clearer classes,
                `num_candidates` times the work. See
                `rejection.generate_best`.
            parallel: Whether all codes of a map are found at once, by passes
                of the whole prior until nothing changes: faster where a pass
                takes hardly longer than a code, so on an accelerator at best.
                As likely images, but others; see
                `sampling.FixedPointSampler`.

        Returns:
            uint8 array `(num_images, height, width, channels)`. After Ctrl-C,
            the images whose codes are complete, if there are any.

        Raises:
            ValueError: If a prior is missing or an argument does not fit.
        """
        labels = self.label_numbers(labels)
        check_integer("num_candidates", num_candidates)
        if (classifier is None) != (num_candidates == 1):
            raise ValueError(
                "`classifier` and `num_candidates` above 1 belong together: "
                "the classifier chooses among the candidates. Received: "
                f"classifier={classifier!r}, num_candidates={num_candidates!r}"
            )
        options = {
            "codes": codes,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "guidance_scale": guidance_scale,
            "seed": seed,
            "batch_size": batch_size,
            "verbose": verbose,
            "on_row": on_row,
            "parallel": parallel,
        }
        if classifier is not None:
            return rejection.generate_best(
                self, classifier, num_candidates, num_images, labels, **options
            )
        drawn = self.generate_codes(num_images, labels, **options)
        return self.decode(drawn, batch_size=batch_size)
