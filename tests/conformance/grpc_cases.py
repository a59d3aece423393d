"""C-grpc: calls, which backend answers them, and what it is told."""
import grpc

import grpc_echo
from world import INFRA, MESH, eventually

CLASS = 'C-grpc'
OUT_OF_SCOPE = {'BackendTLSPolicyGRPCRoute': 'TLS towards backends is not spoken'}
# Which request of the suite's message calls which method.
METHODS = {'EchoRequest': 'Echo', 'EchoTwoRequest': 'EchoTwo', 'EchoThreeRequest': 'EchoThree'}
# GRPCRouteRequestHeaderModifier: what its table expects of headers is not what its manifest says (the rule that adds
# X-Header-Add stands behind one that takes the same calls), and the suite's own comparison never looks at them: it
# compares status, method, namespace and backend. So headers are compared with what the manifest says.
BY_THE_MANIFEST = {
    2: {'Some-Other-Header': ['this-header-should-be-set'], 'X-Header-Set': ['set-overwrites-values']},
    3: {'X-Header-Set': ['set-overwrites-values'], 'X-Header-Add': ['this-value-should-be-appended']},
    4: {'X-Header-Set': ['set-overwrites-values'], 'X-Header-Remove': ['this-should-be-removed']},
    5: {
        'Some-Other-Header': ['another-header-val'], 'X-Header-Set-1': ['header-set-1'], 'X-Header-Set-2': ['header-set-2'],
        'X-Header-Add-1': ['header-add-1'], 'X-Header-Add-2': ['add-header-2', 'header-add-2'], 'X-Header-Remove-2': None,
    },
    6: {
        'X-Header-Set-1': ['header-set-1'], 'X-Header-Set-2': ['header-set-2'], 'X-Header-Remove-1': None,
        'X-Header-Add-1': ['existing-add-1', 'header-add-1'], 'X-Header-Add-2': ['header-add-2'],
    },
}
GATEWAYS = {'GRPCRouteListenerHostnameMatching': 'grpcroute-listener-hostname-matching'}


def cases(test, world):
    name = test['ShortName']
    if name == 'MeshGRPCRouteRequestHeaderModifier':
        yield from mesh_headers(test, world)
        return
    address = world.gateway(GATEWAYS.get(name, 'same-namespace'))
    for i, case in enumerate(test['cases']):
        expected = case['expect']
        if name == 'GRPCRouteRequestHeaderModifier' and i in BY_THE_MANIFEST:
            expected = expected | {'Response': {'Headers': BY_THE_MANIFEST[i]}}
        yield i, eventually(lambda: gateway_case(expected, address))


def gateway_case(expected, address):
    asked = expected.get('RequestMetadata') or {}
    metadata = [(key.lower(), value) for key, value in (asked.get('Metadata') or {}).items()]
    method = next(method for request, method in METHODS.items() if request in expected)
    with grpc_echo.channel(address, 80, asked.get('Authority')) as channel:
        return compare(expected, method, *call(channel, method, metadata))


def call(channel, method, metadata):
    """The status and, when it is OK, what the server saw."""
    try:
        return 'OK', grpc_echo.call(channel, method, metadata)
    except grpc.RpcError as error:
        return error.code().name, {'details': error.details()}


def compare(expected, method, code, seen):
    answer = expected.get('Response') or {}
    wanted = (answer.get('Code') or {'$expr': 'codes.OK'})['$expr'].removeprefix('codes.').upper()
    if code != wanted:
        return f'{code} ({seen.get("details")}), wanted {wanted}'
    if code != 'OK':
        return None
    if not seen['pod'].startswith(expected['Backend']) or seen['namespace'] != expected['Namespace']:
        return f'answered by {seen["namespace"]}/{seen["pod"]}, wanted {expected["Backend"]}'
    if seen['method'] != f'/{grpc_echo.SERVICE}/{method}':
        return f'the backend was asked for {seen["method"]}'
    for key, values in (answer.get('Headers') or {}).items():
        if joined(seen['headers'].get(key.lower())) != joined(values):
            return f'{key} is {seen["headers"].get(key.lower())}, wanted {values}'
    present = [key for key in answer.get('AbsentHeaders') or [] if key.lower() in seen['headers']]
    return f'{present} arrived' if present else None


def joined(values):
    """Several fields of one name and one with commas mean the same (RFC 9110 section 5.3)."""
    return None if values is None else ','.join(values).replace(' ', '')


def mesh_headers(test, world):
    """The table of the suite; its last entry is the loop over the table."""
    for i, case in enumerate(c for c in test['cases'] if c['type'] == 'table'):
        row = case['expect']
        metadata = [('x-test-case', row['matchHeaderValue']), *row['headers'].items()]
        headers = {key: [value] for key, value in row['expectedHeaders'].items()}
        answer = {'Headers': headers, 'AbsentHeaders': row.get('absentHeaders')}
        expected = {'Backend': row['targetHost'], 'Namespace': MESH, 'Response': answer}

        def ask():
            with grpc_echo.channel(*world.client(), authority='echo:7070') as channel:
                return compare(expected, 'Echo', *call(channel, 'Echo', metadata))

        yield i, eventually(ask)


def serve(world):
    world.replace(f'{INFRA}/grpc-infra-backend', 3000, grpc_echo.serve)
    world.replace(f'{MESH}/echo-', 7070, grpc_echo.serve)


PREPARE_ALL = serve
