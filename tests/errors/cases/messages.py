"""Defences of messages that cannot act as they are meant."""

from __future__ import annotations

from pathlib import Path

from tests.errors.making import CASES, TINY, scenario


def defended(name: str, defenses: str, *edits: tuple[str, str]) -> None:
    """``TINY`` with ``message_defenses=(defenses)`` and other edits."""

    def make(here: Path) -> list[str]:
        text = TINY.replace("    evaluation=", f"    message_defenses=({defenses},),\n    evaluation=")
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return scenario(here, text)

    CASES[name] = make


PROTOCOL, MODEL = "SplitFedV2()", 'femnist_cnn(cut="V2")'

defended("message-noise", "AdditiveNoise(scale=0.0)")
defended("message-dropout", "SmashedDropout(share=1.0)")
defended("message-top-k", "TopK(share=0.0)")
defended("message-bits", "Quantisation(bits=17)")
defended("message-no-peek", "NoPeek(weight=0.0)")
defended("message-marvell", "Marvell(power=0.0)")
defended("message-epsilon", "RandomisedResponse(epsilon=0.0)")
defended("message-encoded", "TopK(share=0.5), AdditiveNoise(scale=1.0)")
defended("message-no-smashed", "TopK(share=0.5)", (PROTOCOL, "FedAvg()"))
defended("message-kept", "TopK(share=0.5)", (PROTOCOL, "AsyncSplitFed()"))
defended("message-site", "TopK(share=0.5)", (PROTOCOL, "ExtendedSplit()"), (MODEL, 'femnist_cnn(cut="V1", tail="V2")'))
defended("message-two-classes", "Marvell()")
defended("message-means", "GradientNormMasking()", (PROTOCOL, "Sglr()"))
defended("message-no-server", "GradientNormMasking()", (PROTOCOL, "FedAvg()"))
defended("message-no-loss", "NoPeek(weight=1.0)", (PROTOCOL, "FedAvg()"))
defended("message-one-sample", "NoPeek(weight=1.0)", ("lr=0.05)", "lr=0.05, batch_size=1)"))
defended(
    "message-private",
    "NoPeek(weight=1.0)",
    ("    evaluation=", "    privacy=PerExampleClipping(1.0, 1.0, expected_batch=8),\n    evaluation="),
)
defended(
    "message-gradients-site",
    "GradientNormMasking()",
    (PROTOCOL, "ExtendedSplit()"),
    (MODEL, 'femnist_cnn(cut="V1", tail="V2")'),
)
defended(
    "message-loss-site",
    "NoPeek(weight=1.0)",
    (PROTOCOL, "ExtendedSplit()"),
    (MODEL, 'femnist_cnn(cut="V1", tail="V2")'),
)
