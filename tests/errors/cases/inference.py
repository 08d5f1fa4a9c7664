"""Inference attacks on runs."""

from __future__ import annotations

from tests.errors.making import CASES, FINISHED, stands


def inferred(name: str, attack: str, *options: str) -> None:
    """A case that attacks the finished run of ``TINY``."""
    CASES[name] = lambda here: ["infer", str(stands(here, FINISHED)), "--attack", attack, *options]


inferred("infer-two-classes", "NormLabels(channel='cut_gradients')", "--round", "1")
inferred("infer-one-sample", "SignLabels", "--round", "1")
inferred("infer-in-training", "ClusterLabels(channel='cut_gradients')")
inferred("infer-labels", "Sdar(by_label=True)")
inferred("infer-channel", "ClusterLabels", "--round", "1")
inferred("infer-knows", "UnSplit", "--knows", "queries")
inferred("infer-learned", "GeneratedSamples")
inferred("infer-party", "UnSplit", "--party", "server")
inferred("infer-round", "UnSplit", "--round", "9")
inferred("infer-option", "UnSplit(roundz=3)")
inferred("infer-no-attack", "ImagePrior")
inferred("infer-updates", "GradientInversion(labels='joint')")
inferred("infer-updates-labels", "GradientInversion", "--round", "1")
inferred("infer-updates-few", "GradientInversion(labels='joint')", "--round", "1", "--samples", "1")
inferred("infer-updates-server", "GradientInversion(labels='joint')", "--round", "1", "--party", "fed_server",
         "--knows", "architecture")  # fmt: skip
inferred("infer-dense", "DenseLayerInversion", "--round", "1")
inferred("infer-membership-round", "LossMembership", "--round", "1")
inferred("infer-membership-none", "LossMembership", "--samples", "1")
inferred("infer-oracle", "ClusterLabels(channel='smashed')", "--oracle", "WhiteBoxInversion(steps=1)")
inferred("infer-trials", "QueryDecoder(trials=4)")
inferred("infer-extraction-server", "ModelExtraction", "--party", "main_server")
inferred("infer-extraction-queries", "ModelExtraction", "--queries", "9")
