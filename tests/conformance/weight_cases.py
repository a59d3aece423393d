"""C-weight: requests, calls and connections are shared out by weight."""
from collections import Counter

import grpc_echo
import tcp_echo
from shares import in_rounds, send, wrong_shares
from world import INFRA, MESH, eventually, http, replay

CLASS = 'C-weight'
OUT_OF_SCOPE = {'UDPRouteWeightedRouting': 'UDP is not carried'}


def backend(pod):
    """A Deployment's name out of its pod's."""
    return pod.rsplit('-', 2)[0]


def asker(test, world):
    """How one request is sent, as a function that returns the pod that answered; and the weights, in the suite's words."""
    expected = test['cases'][0]['expect'] if test['cases'] else {}
    match test['ShortName']:
        case 'HTTPRouteWeight':
            place = world.gateway('same-namespace'), 80
            wanted = {'infra-backend-v1': 0.7, 'infra-backend-v2': 0.3, 'infra-backend-v3': 0.0}
            return over_http(*place, expected), wanted
        case 'MeshHTTPRouteWeight':
            return over_http(*world.client(), expected, mesh=True), {'echo-v1': 0.7, 'echo-v2': 0.3}
        case 'GRPCRouteWeight':
            channel = grpc_echo.channel(world.gateway('same-namespace'), 80)
            wanted = {'grpc-infra-backend-v1': 0.7, 'grpc-infra-backend-v2': 0.3, 'grpc-infra-backend-v3': 0.0}
            return over_grpc(channel), wanted
        case 'MeshGRPCRouteWeight':
            channel = grpc_echo.channel(*world.client(), authority=expected['Request']['Host'])
            return over_grpc(channel), {'echo-v1': 0.7, 'echo-v2': 0.3}
        case 'TCPRouteWeightedRouting':
            place = world.gateway('tcp-weighted-gateway'), 9300
            wanted = {'tcp-backend-v1': 0.7, 'tcp-backend-v2': 0.3, 'tcp-backend-v3': 0.0}
            return lambda: tcp_echo.ask(*place)['pod'], wanted


def over_http(address, port, expected, mesh=False):
    def one():
        status, headers, seen = replay.request(address, port, expected, mesh)
        wrong = replay.compare(expected, status, headers, seen, mesh)
        if wrong:
            raise ValueError(wrong)
        return seen['pod']

    return one


def over_grpc(channel):
    return lambda: grpc_echo.call(channel, 'Echo')['pod']


def cases(test, world):
    one, wanted = asker(test, world)
    # The first answers tell that the way is there; they do not count.
    wrong = eventually(lambda: None if one() else 'no pod')
    yield 'weights', wrong or in_rounds(lambda: wrong_shares(Counter(map(backend, send(one))), wanted))


def serve(world):
    world.replace(f'{INFRA}/grpc-infra-backend', 3000, grpc_echo.serve)
    world.replace(f'{MESH}/echo-', 7070, grpc_echo.serve)
    world.speak(f'{INFRA}/tcp-', 3000, tcp_echo.Echo)


PREPARE_ALL = serve
