"""The runs behind the tables of docs/editing.md, one command a line, the most important first.

    python examples/benchmarks/editing_runs.py | OUT_DIR=runs xargs -P 8 -I {} sh -c {}

They do not depend on each other; each takes at most three minutes of one core and writes a file of its own. Afterwards
`editing.py report runs/editing-edit-*.csv`, and likewise for `inversion.py` (`inv`) and `inpainting.py` (`hat`).
"""

from __future__ import annotations

SEEDS = (0, 1, 2)
PREFIX = {"editing": "edit", "inversion": "inv", "inpainting": "hat"}
# (benchmark, methods of one command, items of its commands); a command is made for each seed
RUNS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("editing", ("edit-1",), ("0:86",)),
    ("editing", ("edit-4-search-8",), ("0:22", "22:43", "43:64")),
    ("editing", ("searched",), ("0:22", "22:43", "43:64")),
    ("editing", ("best-of-16",), ("0:32", "32:64")),
    ("editing", ("swap", "straight"), ("0:86",)),
    ("inversion", ("anderson-60",), ("0:64",)),
    ("inversion", ("anderson-100",), ("0:64",)),
    ("inversion", ("anderson-160",), ("0:64",)),
    ("editing", ("sdedit", "swap-uni-inv", "flowedit-authors"), ("0:86",)),
    ("editing", ("flowalign", "straight-guidance-3"), ("0:86",)),
    ("editing", ("flowopt",), ("0:86",)),
    ("inversion", ("flowopt-improved",), ("0:32",)),
    ("inversion", ("flowopt-plain",), ("0:32",)),
    ("inpainting", ("replacement", "repaint"), ("0:64",)),
    ("inpainting", ("flowopt",), ("0:64",)),
    ("editing", ("residuals",), ("0:12", "12:24", "24:55", "55:86")),
    ("inversion", ("euler", "uni-inv", "fixed-point-60"), ("0:64",)),
    ("editing", ("straight-two", "straight-short", "straight-wrong"), ("0:86",)),
    ("editing", ("searched-without-evolving",), ("0:16", "16:32")),
    ("inversion", ("euler-guidance-3", "uni-inv-guidance-3", "anderson-60-guidance-3"), ("0:32",)),
    ("inversion", ("anderson-160-guidance-3",), ("0:32",)),
    ("inversion", ("fixed-point-100",), ("0:64",)),
    ("inversion", ("flowopt-improved",), ("32:64",)),
    ("inversion", ("flowopt-plain",), ("32:64",)),
    ("editing", ("swap-two",), ("0:64",)),
    ("editing", ("swap-short",), ("0:64",)),
    ("editing", ("swap-wrong",), ("0:64",)),
    ("editing", ("searched-two",), ("0:16", "16:32")),
)


def commands() -> list[str]:
    lines = []
    for benchmark, methods, items in RUNS:
        for seed in SEEDS:
            for span in items:
                out = f"$OUT_DIR/editing-{PREFIX[benchmark]}-{methods[0]}-{seed}-{span.replace(':', '-')}.csv"
                call = f"python3 examples/benchmarks/{benchmark}.py"
                lines.append(" && ".join(f"{call} {m} --items {span} --seed {seed} --out {out}" for m in methods))
    return lines


if __name__ == "__main__":
    print("\n".join(commands()))
