"""Writes the table of docs/models.md from the models themselves: python tools/models_page.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

from raysplit.models.alexnet import alexnet, alexnet_imagenet
from raysplit.models.bag_of_words import bag_of_words
from raysplit.models.femnist_cnn import femnist_cnn, leaf_cnn
from raysplit.models.gin import gin
from raysplit.models.lenet import lenet
from raysplit.models.network import ModelSpec
from raysplit.models.overview import cut_facts
from raysplit.models.resnet import resnet18
from raysplit.models.stacked_lstm import sent140_lstm, shakespeare_lstm
from raysplit.models.unsplit import unsplit_cifar, unsplit_mnist
from raysplit.models.vgg import vgg11, vgg16

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- table: tools/models_page.py -->\n", "<!-- end of table -->\n"

KHAN, THAPA, UNSPLIT = "Khan et al. 2022", "Thapa et al. 2022", "Erdoğan et al. 2021"
LEAF = "Caldas et al. 2018 (LEAF)"

MODELS: list[tuple[str, ModelSpec, tuple[str, ...] | None, str]] = [
    ("`femnist_cnn()`", femnist_cnn(), None, f"{KHAN}; widths from NDSS'21's code"),
    ("`leaf_cnn()`", leaf_cnn(), None, LEAF),
    ("`alexnet()`", alexnet(), None, f"{KHAN}; layers from NDSS'21's code"),
    ("`vgg11()`", vgg11(), None, f"{KHAN}; layers from NDSS'21's code"),
    ("`lenet()`", lenet(), None, THAPA),
    ("`lenet((3, 32, 32))`", lenet((3, 32, 32)), None, THAPA),
    ("`alexnet_imagenet()`", alexnet_imagenet(), None, THAPA),
    ("`vgg16()`", vgg16(), None, THAPA),
    ("`resnet18()`", resnet18(), None, THAPA),
    ('`resnet18(form="splitfed")`', resnet18(form="splitfed"), ("code",), f"{THAPA}'s published code"),
    ("`unsplit_mnist()`", unsplit_mnist(), tuple("123456"), UNSPLIT),
    ("`unsplit_cifar()`", unsplit_cifar(), tuple("12345678"), UNSPLIT),
    ("`gin(28, 7, 2)`", gin(28, 7, 2), None, "Xu et al. 2019; here for graphs like MUTAG's"),
    ("`shakespeare_lstm()`", shakespeare_lstm(), None, f"{LEAF}; LEAF never cuts it"),
    ("`sent140_lstm()`", sent140_lstm(), None, LEAF),
    ("`bag_of_words()`", bag_of_words(), None, "one hidden layer on counts of words"),
]
"""How it is made, the model, the cuts to list (None: all that leave the server something), and where it comes from."""


def table() -> str:
    """The table, a row a cut."""
    lines = [
        "| model | input | parameters | cut | after stage | client parameters | of all | client FLOP | Z | bytes a "
        "sample | source |",
        "|---|---|--:|---|---|--:|--:|--:|---|--:|---|",
    ]
    for made, spec, cuts, source in MODELS:
        rows = cut_facts(spec)
        shown = [(row, name) for row in rows[:-1] for name in row.names if cuts is None or name in cuts]
        for index, (row, name) in enumerate(shown):
            first = (made, _shape(spec.input_shape), f"{rows[-1].parameters:,}") if index == 0 else ("", "", "")
            cells = (
                *first,
                f"`{name}`",
                f"`{row.stage.name}`",
                f"{row.parameters:,}",
                f"{100 * row.parameter_share:.2f} %",
                f"{100 * row.flop_share:.1f} %",
                _shape(row.stage.shape),
                f"{row.smashed_bytes:,}",
                source if index == 0 else "",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)


def with_table(page: str, rows: str) -> str:
    """The page with its table replaced."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + rows + END + rest.split(END)[1]


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    fresh = with_table(page, table())
    if "--check" in sys.argv:
        sys.exit(0 if fresh == page else "docs/models.md is out of date: run python tools/models_page.py")
    PAGE.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
