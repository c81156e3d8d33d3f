"""The command line: `python -m benchmarks` measures everything, `python -m benchmarks scripts` the scripts alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import report, scripts
from benchmarks.server import Bench, use_scripts_of
from tests.servers import KINDS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    one = commands.add_parser("scripts", help="server time of the scripts over that of a trivial one")
    one.add_argument("--server", choices=KINDS, default="redis")
    one.add_argument("--quick", action="store_true", help="about 10 seconds instead of 40")
    one.add_argument("--seconds", type=float, help="how long to measure")
    one.add_argument("--profile", metavar="SCRIPT", help="the redis commands inside: send, receive, delete or all")
    one.add_argument("--lua", type=Path, metavar="FOLDER", help="measure the scripts of this folder instead")
    args = parser.parse_args(argv)
    if args.lua:
        use_scripts_of(args.lua)

    seconds = args.seconds or (10 if args.quick else 40)
    with Bench(args.server) as bench:
        print(f"{args.server} {bench.version}, backlog 10,000, bodies of 100 bytes, {seconds:g} s", flush=True)
        samples = scripts.measure(bench, seconds)
    if args.profile:
        chosen = {step: sample for step, sample in samples.items() if args.profile in ("all", *step)}
        print(report.plain(scripts.profile(chosen)))
    else:
        print(report.plain(scripts.table(samples)), report.plain(scripts.sums(samples)), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
