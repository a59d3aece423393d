"""C-tcp: which backend gets the connections of which listener."""
import tcp_echo
from world import INFRA, World, eventually

CLASS = 'C-tcp'
WEB = 'gateway-conformance-web-backend'
# As many connections as the suite opens to see that a route that lost never gets one.
SAMPLES = 100


def reaches(world, gateway, port, backend, namespace=INFRA):
    """Whether connections to a listener end at a backend."""
    def ask():
        answer = tcp_echo.ask(world.gateway(gateway), port)
        if answer['namespace'] != namespace or not answer['pod'].startswith(f'{backend}-'):
            return f'port {port} is answered by {answer["namespace"]}/{answer["pod"]}, wanted {namespace}/{backend}'
        return None

    return ask


def attach_all(world):
    """TCPRouteParentRefAttachAll: without port and section name, every listener."""
    for port in range(9310, 9314):
        yield port, eventually(reaches(world, 'tcp-attach-all-gateway', port, 'tcp-echo-attach-all'))


def port_and_section_name(world):
    """TCPRouteParentRefPortAndSectionName: by port, by section name, by both."""
    for port, backend in ((9300, 'tcp-echo-one'), (9301, 'tcp-echo-two'), (9302, 'tcp-echo-three')):
        yield port, eventually(reaches(world, 'tcp-multi-listener-gateway', port, backend))


def multiple_routes(world):
    """TCPRouteMultipleRoutesAttachment: of two routes on one listener the older gets every connection."""
    older = reaches(world, 'tcp-multi-route-attach-gateway', 9310, 'tcp-attach-backend-1')
    yield 'older alone', eventually(older)
    route = next(d for d in world.docs if d['kind'] == 'TCPRoute')
    route['metadata']['creationTimestamp'] = '2026-01-01T00:00:00Z'
    newer = {
        'apiVersion': route['apiVersion'], 'kind': 'TCPRoute',
        'metadata': {'name': 'tcproute-attach-newer', 'namespace': INFRA, 'creationTimestamp': '2026-01-01T00:00:01Z'},
        'spec': {
            'parentRefs': route['spec']['parentRefs'],
            'rules': [{'backendRefs': [{'name': 'tcp-attach-backend-2', 'port': 3000}]}],
        },
    }
    world.docs.append(newer)
    world.apply()
    # Both are accepted; that the second is known is what the sample waits for.
    accepted = lambda: None if world.status('TCPRoute', 'tcproute-attach-newer')['Accepted']['status'] == 'True' else 'not accepted'
    yield 'both accepted', eventually(accepted, in_a_row=1)
    yield 'older only', eventually(older, in_a_row=SAMPLES)


def reference_grant(world: World):
    """TCPRouteReferenceGrant: another namespace's backend with its grant; without, the reference is not resolved."""
    granted = reaches(world, 'tcp-reference-grant-gateway', 9320, 'tcp-reference-grant-backend', WEB)
    yield 'granted', eventually(granted)
    world.servers.docs = [d for d in world.docs if d['kind'] != 'ReferenceGrant']
    world.apply()

    def refused():
        condition = world.status('TCPRoute', 'tcp-reference-grant')['ResolvedRefs']
        if (condition['status'], condition['reason']) != ('False', 'RefNotPermitted'):
            return f'ResolvedRefs is {condition["status"]} because of {condition["reason"]}'
        return None

    yield 'refused', eventually(refused, in_a_row=1)

    def closed():
        try:
            answer = tcp_echo.ask(world.gateway('tcp-reference-grant-gateway'), 9320)
        except OSError:
            return None
        return f'still answered by {answer["pod"]}'

    yield 'closed', eventually(closed)


TESTS = {
    'TCPRouteMultipleRoutesAttachment': multiple_routes,
    'TCPRouteParentRefAttachAll': attach_all,
    'TCPRouteParentRefPortAndSectionName': port_and_section_name,
    'TCPRouteReferenceGrant': reference_grant,
}


def cases(test, world):
    return TESTS[test['ShortName']](world)


PREPARE_ALL = lambda world: world.speak('gateway-conformance-', 3000, tcp_echo.Echo)  # noqa: E731
