"""One fuzz target under Atheris, which follows the code's branches and stops at the first broken promise.

    python tests/fuzz/run.py TARGET [--corpus FOLDER] [libFuzzer's options, such as -max_total_time=300]

Needs the extra ``fuzz``.  New inputs are kept in the folder; the one that broke a promise is left beside it,
in a file ``TARGET-crash-...``, and given as an argument it is tried alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["legacy_rpc"]):
    from fuzz_targets import TARGETS

CORPUS = Path("var/fuzz")
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=20000")


def main() -> None:
    """Exits as libFuzzer does: 77 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="default: %(default)s")
    given, options = parser.parse_known_args()
    target = TARGETS[given.target]
    folder = given.corpus / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (folder / f"seed-{number}").write_bytes(seed)

    def check(data: bytes) -> None:
        target.check(data)

    artifacts = f"-artifact_prefix={given.corpus}/{target.name}-"
    tries_files = any(not option.startswith("-") for option in options)
    corpus = [] if tries_files else [str(folder)]
    atheris.Setup([sys.argv[0], artifacts, *LIMITS, *options, *corpus], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
