"""Privacy that cannot be carried out, or that claims what does not hold."""

from __future__ import annotations

from pathlib import Path

from tests.errors.making import CASES, TINY, scenario


def private(name: str, clipping: str, *edits: tuple[str, str]) -> None:
    """``TINY`` with ``privacy=PerExampleClipping(clipping)`` and other edits."""

    def make(here: Path) -> list[str]:
        text = TINY.replace("    evaluation=", f"    privacy=PerExampleClipping({clipping}),\n    evaluation=")
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return scenario(here, text)

    CASES[name] = make


SOUND = "1.0, 1.0, expected_batch=8"
PROTOCOL, MODEL, TRAINING = "SplitFedV2()", 'femnist_cnn(cut="V2")', "lr=0.05)"
POISSON = "lr=0.05, poisson_rate=0.1)"

private("privacy-norm", "0.0, 1.0")
private("privacy-delta", "1.0, 1.0, delta=0.0")
private("privacy-budget", "1.0, 1.0, budget=0.0")
private("privacy-noise-without-norm", "None, 1.0")
private("privacy-without-noise", "1.0, 0.0")
private("privacy-divisor", "1.0, 1.0")
private("privacy-site", SOUND, (PROTOCOL, "ExtendedSplit()"), (MODEL, 'femnist_cnn(cut="V1", tail="V2")'))
private("privacy-mixed", SOUND, (PROTOCOL, "Sglr()"))
private("privacy-published", SOUND, (PROTOCOL, 'SplitFedV1(as_published="thapa2022")'))
private(
    "privacy-batch-norm",
    SOUND,
    ("from raysplit import *", "from raysplit import *\nfrom torch import nn\n\ndef make():\n    return "
     "[('a', nn.Conv2d(1, 2, 3)), ('b', nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(1352, 62)))]\n"),
    (MODEL, 'sequential(make, (1, 28, 28), 62, cut="a")'),
)  # fmt: skip
private(
    "privacy-buffers",
    SOUND,
    ("from raysplit import *", "from raysplit import *\nfrom torch import nn\n\ndef make():\n    return "
     "[('a', nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2, track_running_stats=True))), "
     "('b', nn.Sequential(nn.Flatten(), nn.Linear(1352, 62)))]\n"),
    (MODEL, 'sequential(make, (1, 28, 28), 62, cut="a")'),
)  # fmt: skip
private("privacy-open-server", f"{SOUND}, server_portion='open'")
private("privacy-sizes", f"{SOUND}, weights='samples'", (TRAINING, POISSON))
private("privacy-noise-by-sample", f"{SOUND}, form='thapa2022'", (TRAINING, POISSON))
private("privacy-roots", SOUND, (PROTOCOL, "SplitFedV2(), defense=FLTrust()"))
private("privacy-detection", SOUND, (PROTOCOL, "SplitFedV2(), detection=Detection((LabelScreen(),))"))
private("privacy-smashed", SOUND, (PROTOCOL, "SplitFedV2(), observe=Observe(rounds=(1,))"))
private("poisson-rate", SOUND, (TRAINING, "lr=0.05, poisson_rate=1.5)"))
private("poisson-batch-size", SOUND, (TRAINING, "lr=0.05, poisson_rate=0.1, batch_size=8)"))
private("poisson-server", SOUND, (PROTOCOL, "MiniBatchSfl()"), (TRAINING, POISSON))
private("poisson-sizes", SOUND, (PROTOCOL, "SplitFedV2(), observe=Observe(rounds=(1,))"), (TRAINING, POISSON))
private(
    "poisson-site",
    SOUND,
    (PROTOCOL, "ExtendedSplit()"),
    (MODEL, 'femnist_cnn(cut="V1", tail="V2")'),
    (TRAINING, POISSON),
)


def audited(name: str, clipping: str | None, *edits: tuple[str, str], options: tuple[str, ...] = ()) -> None:
    """``raysplit audit`` of ``TINY`` with such a ``privacy``."""

    def make(here: Path) -> list[str]:
        text = (
            TINY if clipping is None else TINY.replace("    evaluation=", f"    privacy={clipping},\n    evaluation=")
        )
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        scenario(here, text)
        return ["audit", "tiny.py", *options]

    CASES[name] = make


CLIPPED = f"PerExampleClipping({SOUND})"
audited("audit-nothing-private", None)
audited("audit-no-fed-server", CLIPPED, (PROTOCOL, "SplitLearning()"))
audited("audit-masked", CLIPPED, (PROTOCOL, "FedAvg(), defense=SecureAggregation()"))
audited("audit-samples-shuffled", CLIPPED, options=("--kind", "sample"))
audited("audit-too-many", CLIPPED, (MODEL, 'femnist_cnn(cut="V1")'), options=("--canaries", "100000"))


def for_clients(name: str, rule: str, protocol: str, *edits: tuple[str, str]) -> None:
    """``TINY`` with ``defense=DpFedAvg(rule)`` and another protocol."""

    def make(here: Path) -> list[str]:
        text = TINY.replace(f"protocol={PROTOCOL},", f"protocol={protocol}, defense=DpFedAvg({rule}),")
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return scenario(here, text)

    CASES[name] = make


CLIENTS = "1.0, 1.0, expected_cohort=4"
MALICIOUS = "malicious=0.25)"
for_clients("client-privacy-norm", "0.0, 1.0, 4", "FedAvg()")
for_clients("client-privacy-delta", "1.0, 1.0, 4, delta=1.0", "FedAvg()")
for_clients("client-privacy-budget", "1.0, 1.0, 4, budget=0.0", "FedAvg()")
for_clients("client-privacy-noise-without-norm", "None, 1.0, 4", "FedAvg()")
for_clients("client-privacy-without-noise", "1.0, 0.0, 4", "FedAvg()")
for_clients("client-privacy-within", CLIENTS, "FedAvg()", (f"DpFedAvg({CLIENTS})", f"CRFL(1.0, DpFedAvg({CLIENTS}))"))
for_clients("client-privacy-two-units", CLIENTS, "FedAvg()", (MODEL, f"{MODEL}, privacy={CLIPPED}"))
for_clients(
    "client-privacy-two-deltas",
    CLIENTS,
    "SplitFedV1()",
    (MODEL, f"{MODEL}, server_defense=DpFedAvg({CLIENTS}, delta=1e-6)"),
)
for_clients("client-privacy-shared-server", CLIENTS, PROTOCOL)
for_clients("client-privacy-one-side", CLIENTS, "SplitFedV1()")
for_clients("client-privacy-published", CLIENTS, 'FedAvg(as_published="thapa2022")')
for_clients(
    "client-privacy-buffers",
    CLIENTS,
    "FedAvg()",
    ("from raysplit import *", "from raysplit import *\nfrom torch import nn\n\ndef make():\n    return "
     "[('a', nn.Conv2d(1, 2, 3)), ('b', nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(1352, 62)))]\n"),
    (MODEL, 'sequential(make, (1, 28, 28), 62, cut="a")'),
)  # fmt: skip
for_clients("client-privacy-passed-over", CLIENTS, "FedAvg()", (MALICIOUS, "draw=Poisson(), at_least=2)"))
for_clients(
    "client-privacy-stragglers",
    CLIENTS,
    "FedAvg()",
    ("    evaluation=", "    devices=Devices(stragglers=Drop(0.5)),\n    evaluation="),
)
for_clients("client-privacy-seen", CLIENTS, "FedAvg()", (MODEL, f"{MODEL}, attack=MinMax()"))


def secure(
    name: str, rule: str = "SecureAggregation()", *edits: tuple[str, str], options: tuple[str, ...] = ()
) -> None:
    """``TINY`` with ``defense=rule``."""

    def make(here: Path) -> list[str]:
        text = TINY.replace(MODEL, f"{MODEL}, defense={rule}")
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return scenario(here, text, *options)

    CASES[name] = make


EVALUATION = "    evaluation="
secure("secure-ring", "SecureAggregation(bits=64)")
secure("secure-threshold", "SecureAggregation(threshold=0.5)")
secure("secure-judged", "Composed((Clipping(),), SecureAggregation())")
secure("secure-replicas", "Mean()", (PROTOCOL, "SplitFedV1(), server_defense=SecureAggregation()"))
secure("secure-recorded", "SecureAggregation()", (EVALUATION, "    record_updates_every=1,\n" + EVALUATION))
secure("secure-devices", "SecureAggregation()", (EVALUATION, "    devices=Devices(),\n" + EVALUATION))
secure("secure-known", "SecureAggregation()", (EVALUATION, "    attack=MinMax(),\n" + EVALUATION))
secure("secure-late", "SecureAggregation()", (PROTOCOL, "BufferedSplitFed(buffer=2)"))
secure("secure-published", "SecureAggregation()", (PROTOCOL, 'SplitFedV1(as_published="thapa2022")'))
secure(
    "secure-buffers",
    "SecureAggregation()",
    ("from raysplit import *", "from raysplit import *\nfrom torch import nn\n\ndef make():\n    return "
     "[('a', nn.Conv2d(1, 2, 3)), ('b', nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(1352, 62)))]\n"),
    (MODEL, 'sequential(make, (1, 28, 28), 62, cut="a")'),
)  # fmt: skip
secure("secure-shards", "SecureAggregation()", (PROTOCOL, "FedAvg()"), options=("--shards", "2"))
