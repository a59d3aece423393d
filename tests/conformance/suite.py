#!/usr/bin/env python3
"""Asks the public cases of the Gateway API conformance suite: those that the replayer can ask, and those that it cannot.

    suite.py [--only REGEX] [--json FILE]

Every class is a module; every test gets a world of its own. The last line sums up; the exit status is 1 when a case fails
that should pass, or passes although it is listed as lacking.
"""
import argparse
import json
import re
import sys
import time

import grpc_cases
import http_cases
import mirror_cases
import retry_cases
import tcp_cases
import tls_cases
import websocket_cases
import weight_cases
from world import end_worlds_when_terminated, opened, replay

CLASSES = [http_cases, weight_cases, mirror_cases, retry_cases, grpc_cases, websocket_cases, tcp_cases, tls_cases]


def tests_of(module, tests, index):
    """The tests of a class, but for those that are out of scope."""
    left_out = getattr(module, 'OUT_OF_SCOPE', {})
    return [t for name, t in tests.items() if index[name]['cls'].startswith(module.CLASS) and name not in left_out]


def ask(module, test):
    """Asks one test: [(case, what is wrong)]."""
    name = test['ShortName']
    with opened(test, getattr(module, 'PREPARE', {}).get(name, getattr(module, 'PREPARE_ALL', None))) as world:
        return list(module.cases(test, world))


def judge(module, name, answers):
    """What is to be said about a test, and its numbers."""
    lacking, why = getattr(module, 'LACKING', {}).get(name, (set(), ''))
    if not answers:
        answers = [('all', 'nothing was asked')]
    failed = [(case, wrong) for case, wrong in answers if wrong and case not in lacking]
    absent = [case for case, wrong in answers if wrong and case in lacking]
    stale = [case for case, wrong in answers if not wrong and case in lacking]
    for case, wrong in failed:
        print(f'{name} case {case}: {wrong}', flush=True)
    for case in stale:
        print(f'{name} case {case} passes: it is no longer lacking', flush=True)
    if absent:
        print(f'{name}: {len(absent)} cases lack: {why}', flush=True)
    return {
        'test': name, 'cases': len(answers), 'passed': sum(not wrong for _, wrong in answers),
        'failed': [case for case, _ in failed] + stale, 'lacking': len(absent),
    }


def main():
    options = argparse.ArgumentParser()
    options.add_argument('--only', default='.')
    options.add_argument('--json')
    options = options.parse_args()
    end_worlds_when_terminated()
    tests = {t['ShortName']: t for t in json.load(open(f'{replay.ROOT}/cases.json'))}
    index = {entry['name']: entry for entry in json.load(open(f'{replay.ROOT}/index.json'))}
    results, parts = [], []
    for module in CLASSES:
        began = time.monotonic()
        of_class = []
        for test in tests_of(module, tests, index):
            if re.search(options.only, test['ShortName']):
                try:
                    answers = ask(module, test)
                except Exception as failure:  # one test that breaks must not hide the others
                    answers = [('all', repr(failure))]
                of_class.append(judge(module, test['ShortName'], answers))
        for name, why in getattr(module, 'OUT_OF_SCOPE', {}).items():
            if re.search(options.only, name):
                print(f'{name} is not asked: {why}')
        if of_class:
            passed, asked, lacking = (sum(r[part] for r in of_class) for part in ('passed', 'cases', 'lacking'))
            parts.append(f'{module.CLASS} {passed} of {asked} cases in {len(of_class)} tests' + (f' ({lacking} lacking)' if lacking else ''))
            print(f'{parts[-1]}, {time.monotonic() - began:.0f} s', flush=True)
        results += of_class
    if options.json:
        json.dump(results, open(options.json, 'w'), indent=1)
    bad = [r['test'] for r in results if r['failed']]
    print(f'conformance: {"; ".join(parts) or "no test has that name"}' + (f'; FAILED: {" ".join(bad)}' if bad else ''))
    sys.exit(1 if bad or not results else 0)


if __name__ == '__main__':
    main()
