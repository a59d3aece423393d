#!/usr/bin/env python3
"""Judges a replay: every case passes, but for those that the replayer cannot ask for, each with its reason."""
import json, sys

# Test -> (cases that cannot pass here, why).
CANNOT = {
    'HTTPRouteBackendProtocolH2C': (1, 'the replayer\'s echo server speaks HTTP/1.1 only, the route\'s backend is h2c'),
    'HTTPRouteHostnameIntersection': (9, 'the replayer asks the first of two gateways, the cases are about both'),
    'HTTPRouteListenerPortMatching': (3, 'the replayer asks port 80 only, the cases name three ports'),
    'HTTPRouteMultipleGateways': (1, 'the replayer asks the first of two gateways'),
    'HTTPRouteRedirectPortAndScheme': (15, 'the replayer asks port 80 of the first gateway, which has only 443'),
    'HTTPRouteReferenceGrant': (1, 'the case deletes the grant first, the replayer does not'),
    'MeshConsumerRoute': (1, 'two clients in two namespaces, the replayer has one'),
}

results = json.load(open(sys.argv[1]))
bad = 0
for result in results:
    allowed, why = CANNOT.get(result['test'], (0, ''))
    failed = result.get('failed', 0)
    if 'error' in result or failed > allowed:
        bad += 1
        print(f"{result['test']}: {failed} failed, {allowed} known; {result.get('error', result.get('errors'))}")
    elif failed:
        print(f"{result['test']}: {failed} cannot pass here: {why}")
passed = sum(result.get('passed', 0) for result in results)
print(f'conformance: {passed} cases passed in {len(results)} tests, {bad} tests failed')
sys.exit(1 if bad else 0)
