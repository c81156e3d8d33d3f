"""The command line: `python -m benchmarks` measures all of docs/performance.md, `python -m benchmarks scaling` all of
docs/scaling.md, `python -m benchmarks scripts` the scripts alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import report, scaling, scripts, suite
from benchmarks.processes import awake, prepare
from benchmarks.server import Bench, use_scripts_of
from tests.servers import KINDS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    _add_options(parser, suite.SECTIONS)
    commands = parser.add_subparsers(dest="command")
    more = commands.add_parser("scaling", help="does what a message costs grow as there is more of everything?")
    _add_options(more, scaling.SECTIONS)
    more.add_argument("--huge", action="store_true", help="FIFO queues up to 5 million waiting messages, too (2 GB)")
    one = commands.add_parser("scripts", help="server time of the scripts over that of a trivial one")
    one.add_argument("--server", choices=KINDS, default="redis")
    one.add_argument("--quick", action="store_true", help="about 10 seconds instead of 40")
    one.add_argument("--seconds", type=float, help="how long to measure")
    one.add_argument("--profile", metavar="SCRIPT", help="the redis commands inside: send, receive, delete or all")
    one.add_argument("--lua", type=Path, metavar="FOLDER", help="measure the scripts of this folder instead")
    args = parser.parse_args(argv)
    prepare()
    if args.command == "scripts":
        return measure_scripts(args)

    scale = suite.QUICK if args.quick else suite.FULL
    if args.command == "scaling":
        text = suite.run(args.server, scale, args.only, args.huge, scaling.SECTIONS)
    else:
        text = suite.run(args.server, scale, args.only)
    if args.write:
        report.put_between_markers(args.write, text)
    return 0


def _add_options(parser: argparse.ArgumentParser, sections: suite.Sections) -> None:
    parser.add_argument("--server", choices=KINDS, default="redis")
    parser.add_argument("--quick", action="store_true", help="less of everything: 2 minutes instead of 10")
    parser.add_argument("--only", choices=sections, metavar="SECTION", help=f"one of {', '.join(sections)}")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the results between the markers of this file")


def measure_scripts(args: argparse.Namespace) -> int:
    """The subcommand `scripts`."""
    if args.lua:
        use_scripts_of(args.lua)
    seconds = args.seconds or (10 if args.quick else 40)
    with Bench(args.server) as bench, awake():
        print(f"{args.server} {bench.version}, backlog 10,000, bodies of 100 bytes, {seconds:g} s", flush=True)
        samples = scripts.measure(bench, seconds, scripts.all_kinds(bench))
    if args.profile:
        chosen = {step: sample for step, sample in samples.items() if args.profile in ("all", *step)}
        print(report.plain(scripts.profile(chosen)))
    else:
        print(report.plain(scripts.table(samples)), report.plain(scripts.sums(samples)), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
