#!/usr/bin/env python3
"""Runs the replayer beside the project as it is: a second opinion on what suite.py asks, by whoever wrote the data.

    replay_as_is.py [--only REGEX] --json FILE

It is given the tests that it can ask in full; for the others `http_cases.ELSEWHERE` has the reason. Of those that it is
given no case may fail.

Two things of the libraries below it are set before: the parser in C, and how often a server of the standard library looks
whether it is to stop. Waiting for its half seconds, some thirty for each test, took nine tenths of a run.
"""
import argparse
import contextlib
import json
import pathlib
import re
import runpy
import sys

from http_cases import CLASS, ELSEWHERE
from world import SHARED, end_worlds_when_terminated, replay  # sets both

# The cases that are late on purpose take a second each, three times.
SETTLE_SECONDS = 5


def tests(only):
    index = json.load(open(f'{replay.ROOT}/index.json'))
    names = [entry['name'] for entry in index if entry['cls'] == CLASS]
    return [name for name in names if re.search(only, name) and name not in ELSEWHERE]


def run(names, results):
    adapter = pathlib.Path(__file__).with_name('adapter')
    sys.argv = ['replay.py', '--adapter', str(adapter), '--classes', CLASS, '--settle', str(SETTLE_SECONDS)]
    sys.argv += ['--only', f'^({"|".join(names)})$', '--json', results]
    # What it prints of each test is for whoever looks for a failure.
    with contextlib.redirect_stdout(sys.stderr):
        runpy.run_path(str(SHARED / 'replay.py'), run_name='__main__')


def main():
    options = argparse.ArgumentParser()
    options.add_argument('--only', default='.')
    options.add_argument('--json', required=True)
    options = options.parse_args()
    end_worlds_when_terminated()
    names = tests(options.only)
    if not names:
        return
    run(names, options.json)
    results = {result['test']: result for result in json.load(open(options.json))}
    # A test that broke off has an error instead of numbers.
    bad = [name for name, result in results.items() if 'error' in result or result['failed']]
    for name in bad:
        print(f'{name}, as replayed: {results[name].get("error") or results[name]["errors"]}')
    passed = sum(result.get('passed', 0) for result in results.values())
    print(f'as replayed: {passed} cases passed in {len(results)} tests' + (f'; FAILED: {" ".join(bad)}' if bad else ''))
    sys.exit(1 if bad or len(results) != len(names) else 0)


if __name__ == '__main__':
    main()
