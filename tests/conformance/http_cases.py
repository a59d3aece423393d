"""A-http: requests and what must be answered.

Most cases are asked at port 80 of the first gateway that a test names, or at the sidecar of a client in the mesh. Where the
suite asks elsewhere its Go source is followed; `ELSEWHERE` says how and why the replayer cannot.
"""
import copy
import json
import socket
import ssl
from http.client import HTTPConnection

import h2c
from world import CONSUMER, INFRA, MESH, World, eventually, http, replay, with_certificate

CLASS = 'A-http'
TIMEOUT_SECONDS = 12


def where(gateway=None, port=80, client=None, before=None, ask=replay.request):
    """How a case is asked when not in the usual way."""
    return {'gateway': gateway, 'port': port, 'client': client, 'before': before, 'ask': ask}


def delete_grant(world: World):
    """HTTPRouteReferenceGrant asks the second case after it has deleted the grant."""
    world.servers.docs = [d for d in world.docs if d['kind'] != 'ReferenceGrant']
    world.apply()


def over_tls(address, port, expected, mesh=False, server=None):
    """HTTP/1.1 over TLS, for the server of that name or of the request's host; the certificate is not what a case is about."""
    asked = expected['Request']
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), timeout=TIMEOUT_SECONDS) as plain:
        connection = HTTPConnection(address, port)
        connection.sock = context.wrap_socket(plain, server_hostname=server or asked['Host'])
        connection.request('GET', asked['Path'], headers={'Host': asked['Host']})
        answer = connection.getresponse()
        body = answer.read()
        headers = {}
        for name, value in answer.getheaders():
            headers.setdefault(name.lower(), []).append(value)
        return answer.status, headers, json.loads(body) if answer.status == 200 else {}


def absolute_form(address, port, expected, mesh=False):
    """As to a proxy: which service is meant stands in the target, whatever `Host` says."""
    asked = expected['Request']
    target = {'Path': f'http://{asked["Host"]}{asked.get("Path") or "/"}'}
    return replay.request(address, port, expected | {'Request': asked | target}, mesh)


PORTS = {i: where('httproute-listener-port-matching', port) for i, port in enumerate([80, 8080, 8080, 8090, 8090])}
REDIRECTS = (
    {i: where('same-namespace') for i in range(6)}
    | {i: where('same-namespace-with-http-listener-on-8080', 8080) for i in range(6, 9)}
    | {i: where('same-namespace-with-https-listener', 443, ask=over_tls) for i in range(9, 15)}
)

# Test -> (case -> places, why the replayer cannot ask there). A case is asked at each of its places.
ELSEWHERE = {
    'GatewayHTTPListenerIsolation': (
        {i: [where('http-listener-isolation'), where('http-listener-isolation-with-hostname-intersection')] for i in range(16)},
        'the table is asked at two gateways, the replayer asks one',
    ),
    'HTTPRouteBackendProtocolH2C': (
        {0: [where('same-namespace', ask=h2c.request)]},
        'client and server speak HTTP/2 with prior knowledge, the replayer\'s HTTP/1.1',
    ),
    'HTTPRouteHostnameIntersection': (
        {i: [where('httproute-hostname-intersection' if i < 27 else 'httproute-hostname-intersection-all')] for i in range(33)},
        'two gateways, the replayer asks the one of the last cases',
    ),
    'HTTPRouteListenerPortMatching': ({i: [place] for i, place in PORTS.items()}, 'three ports, the replayer asks one'),
    'HTTPRouteMultipleGateways': (
        {i: [where('same-namespace' if i < 2 else 'all-namespaces')] for i in range(4)},
        'two gateways, the replayer asks the one of the last cases',
    ),
    'HTTPRouteRedirectPortAndScheme': (
        {i: [place] for i, place in REDIRECTS.items()},
        'three gateways at three ports, the replayer asks port 80 of the last',
    ),
    'HTTPRouteReferenceGrant': ({1: [where('same-namespace', before=delete_grant)]}, 'the grant is deleted first'),
    'ListenerSetAllowedRoutesNamespaces': (
        {i: [where('gateway-with-listener-sets-test-allowed-routes')] for i in range(11)},
        'the replayer finds no gateway in what names a ListenerSet',
    ),
    'ListenerSetDualParentRefIndependence': (
        {i: [where('gateway-dual-parentref')] for i in range(4)},
        'the replayer finds no gateway in what names a ListenerSet',
    ),
    'ListenerSetGatewayParentSectionNameNotFound': (
        {i: [where('gateway-section-name')] for i in range(2)},
        'the replayer finds no gateway in what names a ListenerSet',
    ),
    'MeshFrontendHostname': (
        {i: [where(client=MESH, ask=absolute_form)] for i in range(2)},
        'one service is dialled and another is named in `Host`, which a proxy is told by a target in absolute form',
    ),
    'MeshConsumerRoute': ({0: [where(client=CONSUMER)], 1: [where(client=MESH)]}, 'two clients in two namespaces, the replayer has one'),
}

# Cases that cannot pass because the product lacks what they are about. They are asked all the same, and one that passes
# must leave this list.
LACKING = {
    'MeshFrontend': ({1}, 'a sidecar that is dialled as a proxy knows the hosts of the mesh, not the addresses of pods'),
}


def fill_slices(world: World):
    """HTTPRouteServiceTypes puts the pods of infra-backend-v1 into the slices that no selector fills."""
    for document in world.docs:
        if document['kind'] == 'EndpointSlice' and document['addressType'] == 'IPv4':
            document['endpoints'] = copy.deepcopy(world.pods('infra-backend-v1'))


def speak_h2c(world: World):
    world.speak(f'{INFRA}/infra-backend-v1', 3001, h2c.Echo)


PREPARE = {
    'HTTPRouteServiceTypes': fill_slices,
    'HTTPRouteBackendProtocolH2C': speak_h2c,
    'HTTPRouteRedirectPortAndScheme': with_certificate,
}


def unresolved(test, index, expected, world):
    """Expectations that the extracted data leaves open, as the suite's source resolves them."""
    match test, index:
        case 'HTTPRouteServiceTypes', 0:
            for service in ('headless', 'manual-endpointslices', 'headless-manual-endpointslices'):
                yield expected | {'Request': {'Path': f'/{service}'}}
        case 'MeshFrontend', 1:
            pod = world.pods('echo-v2', MESH)[0]['addresses'][0]
            yield expected | {'Request': expected['Request'] | {'Host': f'{pod}:8080'}}
        case 'MeshFrontendHostname', _:
            # The suite's clients dial the service and expect the wrong `Host` to arrive. A proxy that is told the service by
            # the target must replace `Host` by it (RFC 9112 section 3.2.2); which service answers is what the case is about.
            arrives = {'Request': {'Headers': {'Host': expected['Request']['Host']}}}
            yield expected | {'ExpectedRequest': arrives}
        case _:
            yield expected


def tls_configuration(case, world):
    """GatewayInvalidTLSConfiguration is about status: a certificate that cannot be had is not resolved."""
    gateway = case['expect']['gatewayNamespacedName']

    def ask():
        found = world.status('Gateway', gateway['Name'], gateway['Namespace'])['ResolvedRefs']
        if (found['status'], found['reason']) != ('False', 'InvalidCertificateRef'):
            return f'ResolvedRefs is {found["status"]} because of {found["reason"]}'

    return eventually(ask, in_a_row=1)


def cases(test, world):
    """Asks every case of a test; yields (case, what is wrong)."""
    name = test['ShortName']
    places, _ = ELSEWHERE.get(name, ({}, ''))
    lacking, _ = LACKING.get(name, (set(), ''))
    first = next(iter(replay.gwrefs(test)), f'{INFRA}/same-namespace').split('/')[1]
    usual = where(client=MESH) if world.mesh else where(first)
    for i, case in enumerate(test['cases']):
        if name == 'GatewayInvalidTLSConfiguration':
            yield i, tls_configuration(case, world)
            continue
        expected = case['expect'].get('expected', case['expect'])
        wrong = None
        for place in places.get(i, [usual]):
            for resolved in unresolved(name, i, expected, world):
                wrong = wrong or ask(resolved, place, world, patience=0 if i in lacking else None)
        yield i, wrong


def ask(expected, place, world, patience):
    if place['before']:
        place['before'](world)
    if place['client']:
        address, port = world.client(place['client'])
    else:
        address, port = world.gateway(place['gateway']), place['port']
    limit = {} if patience is None else {'patience': patience}
    return eventually(lambda: http(address, port, expected, bool(place['client']), place['ask']), **limit)
