"""The command line: `python -m benchmarks` measures all of docs/performance.md and docs/scaling.md, with `scaling` the
second one alone, with `scripts` the scripts alone."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks import pages, report, scaling, scripts, suite
from benchmarks.processes import awake, prepare
from benchmarks.server import Bench, use_scripts_of
from tests.servers import KINDS, Kind, find_binary


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    _add_options(parser, [*suite.SECTIONS, "scaling"])
    parser.add_argument("--write", type=Path, metavar="DOCS", help="write the pages and charts of this folder")
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
    if args.command is None and args.write and args.only:
        parser.error("--write needs all sections: leave --only out")
    prepare()
    if args.command == "scripts":
        return measure_scripts(args)
    scale = suite.QUICK if args.quick else suite.FULL
    if args.command == "scaling":
        found = suite.run(suite.Results(args.server, scale, args.huge), scaling.SECTIONS, args.only)
        print(report.plain(pages.table_of_goals([found], is_all=True)))
        return 0
    return measure(args, scale)


def measure(args: argparse.Namespace, scale: suite.Scale) -> int:
    """Everything, on both servers, or one section."""
    began = time.monotonic()
    others = [kind for kind in KINDS if kind != args.server and find_binary(kind)]
    runs, grown = (_results(args, scale, [] if args.quick else others) for _ in range(2))
    if args.only != "scaling":
        for r in runs:
            suite.run(r, suite.SECTIONS, args.only)
    if args.only in (None, "scaling"):
        for r in grown:
            suite.run(r, scaling.SECTIONS if r is grown[0] else scaling.GROWTH)
    minutes = (time.monotonic() - began) / 60
    print(report.plain(pages.table_of_goals(runs, grown)))
    print(f"\n{pages.measured(runs, minutes)}\n")
    if args.write:
        pages.write(args.write, runs, grown, minutes)
        print(f"Written: {args.write}/performance.md, scaling.md, and the charts in {args.write}/{pages.IMAGES}")
    return 0


def _results(args: argparse.Namespace, scale: suite.Scale, others: Iterable[Kind]) -> list[suite.Results]:
    """Empty ones, of the first server and of those that are compared with it."""
    first = suite.Results(args.server, scale, is_patient=args.only is None)
    return [first, *(suite.Results(k, suite.second(scale), has_peers=False, is_patient=True) for k in others)]


def _add_options(parser: argparse.ArgumentParser, sections: Iterable[str]) -> None:
    parser.add_argument("--server", choices=KINDS, default="redis")
    parser.add_argument("--quick", action="store_true", help="less of everything, on one server: less than 2 minutes")
    parser.add_argument("--only", choices=sections, metavar="SECTION", help=f"one of {', '.join(sections)}")


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
