"""C-retry: an upstream that fails so many times and then succeeds, as the suite's echo server does.

The query says how: `succeedAfter` failures, each with `responseCode` or a connection that is reset, each `delayRetry` late.
`uuid` tells requests apart, so that every probe counts for itself.
"""
import collections
import re
import socket
import struct
import threading
import time
import urllib.parse
import uuid

from world import INFRA, eventually, http, replay

CLASS = 'C-retry'
UNITS = {'ms': 0.001, 's': 1.0}


class Failing(replay.Echo):
    """Fails as the query says, then echoes."""

    tries = collections.Counter()
    lock = threading.Lock()

    def do_GET(self):
        query = {name: values[0] for name, values in urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query).items()}
        if 'uuid' not in query:
            return self.do()
        with self.lock:
            self.tries[query['uuid']] += 1
            is_failing = self.tries[query['uuid']] <= int(query['succeedAfter'])
        if not is_failing:
            return self.do()
        if 'delayRetry' in query:
            number, unit = re.fullmatch(r'([\d.]+)(ms|s)', query['delayRetry']).groups()
            time.sleep(float(number) * UNITS[unit])
        if 'responseCode' in query:
            self.send_response(int(query['responseCode']))
            self.send_header('content-length', '0')
            self.end_headers()
        else:
            # Closed with unsent nothing and a linger of none: the peer is told by a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.close_connection = True
            self.connection.close()


def cases(test, world):
    place = world.gateway('same-namespace'), 80
    for i, case in enumerate(test['cases']):
        asked = case['expect']['args']

        def ask():
            probe = uuid.uuid4().hex
            query = {name: values[0] for name, values in asked['retrySimulationConfig'].items()} | {'uuid': probe}
            path = f'{asked["path"]}?{urllib.parse.urlencode(query)}'
            expected = {'Request': {'Path': path}, 'Response': case['expect']['want'], 'Backend': 'infra-backend-v3', 'Namespace': INFRA}
            return http(*place, expected)

        yield i, eventually(ask)


PREPARE_ALL = lambda world: world.speak(f'{INFRA}/infra-backend-v3', 3000, Failing)  # noqa: E731
