"""C-tls: HTTPS listeners of one port, told apart by the server's name that a caller's TLS asks for.

The suite asks for misdirected requests over HTTP/2, because a browser does so on one connection; HTTP/1.1 says the same of the
listener. Policies for backends and TLSRoutes need backends that speak TLS, which the data has no servers for: they are kept
as promises (`tests/https.rs`).
"""
from http_cases import over_tls
from world import eventually, http, with_certificate

CLASS = 'C-tls'
GATEWAY, PORT = 'same-namespace-with-https-listener', 443
BACKENDS = 'its backends speak TLS, and the data has no servers for them'
OUT_OF_SCOPE = {
    'BackendTLSPolicyConflictResolution': BACKENDS,
    'BackendTLSPolicyInvalidCACertificateRef': BACKENDS,
    'BackendTLSPolicyInvalidKind': BACKENDS,
    'BackendTLSPolicySANValidation': BACKENDS,
    'BackendTLSPolicyTLSRouteTerminate': BACKENDS,
    'BackendTLSPolicy': BACKENDS,
    'GatewayFrontendInvalidDefaultClientCertificateValidation': 'about status and certificates that the suite makes as it runs',
    'GatewayInvalidTLSBackendConfiguration': 'a certificate for backends is said in a DestinationRule',
    'GatewayTLSBackendClientCertificate': 'a certificate for backends is said in a DestinationRule',
    'GatewayFrontendClientCertificateValidationInsecureFallback': 'AllowInsecureFallback is refused',
    'GatewayFrontendClientCertificateValidation': 'about certificates that the suite makes as it runs',
    'GatewayInvalidFrontendClientCertificateValidation': 'about certificates that the suite makes as it runs',
    'TLSRouteHostnameIntersection': BACKENDS,
    'TLSRouteMixedTerminationSameNamespace': BACKENDS,
    'TLSRouteSimpleSameNamespace': BACKENDS,
    'TLSRouteTerminateSimpleSameNamespace': BACKENDS,
}
PREPARE_ALL = with_certificate


def cases(test, world):
    """Asks the rows of the test's table; the last entry is what each of them is put into."""
    path = '/detect-misdirected-requests' if 'Misdirected' in test['ShortName'] else '/'
    rows = [case['expect'] for case in test['cases'] if case['type'] == 'table']
    for i, row in enumerate(rows):
        expected = {
            'Request': {'Host': row['host'], 'Path': path},
            'Response': {'StatusCode': row['statusCode']},
            'Backend': row.get('backend', ''),
        }

        def ask(address, port, expected, mesh=False, server=row.get('serverName')):
            return over_tls(address, port, expected, mesh, server)

        yield i, eventually(lambda: http(world.gateway(GATEWAY), PORT, expected, ask=ask))
