"""The world of one test: the suite's manifests, real servers for its Deployments, and Tidegate over both.

The replayer beside the project knows how manifests become servers and how an answer is compared; it is used from where it
lies. Its echo servers speak HTTP/1.1. Where a test needs another server, that one is put at the same address.
"""
import contextlib
import pathlib
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

import yaml

# Read before the replayer is: it parses with whatever loader the module names.
yaml.SafeLoader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)

SHARED = pathlib.Path(__file__).resolve().parents[3] / 'shared/conformance'
sys.path.insert(0, str(SHARED))

import replay  # noqa: E402  (found only now)
import system  # noqa: E402

# A server of the standard library looks every 0.5 s whether it is to stop, and some forty of them stop after each test.
STOP_POLL_SECONDS = 0.02
socketserver.BaseServer.serve_forever.__defaults__ = (STOP_POLL_SECONDS,)

INFRA = 'gateway-conformance-infra'
MESH = 'gateway-conformance-mesh'
CONSUMER = 'gateway-conformance-mesh-consumer'
# The suite asks until three answers in a row are as expected, and gives up at last.
ANSWERS_IN_A_ROW = 3
PATIENCE_SECONDS = 5


class World:
    """Servers, files and processes of one test."""

    def __init__(self, test, prepare=None):
        self.directory = tempfile.mkdtemp(prefix='conformance-')
        self.servers = replay.World(replay.files_for(test))
        self.instead = []
        self.where = {}
        self.mesh = test['ShortName'].startswith('Mesh')
        if prepare:
            prepare(self)

    @property
    def docs(self):
        """The objects that Tidegate is given; whoever changes them calls `apply`."""
        return self.servers.docs

    def apply(self):
        """Writes the files and waits until every proxy holds them, when they are the first."""
        self.servers.write(self.directory)
        self.where = system.up(self.directory)

    def gateway(self, name, namespace=INFRA):
        return self.where['gateways'][f'{namespace}/{name}']

    def client(self, namespace=MESH):
        """Where clients of the mesh in a namespace send their requests: (address, port)."""
        address, port = self.where['clients'][namespace].split(':')
        return address, int(port)

    def pods(self, service, namespace=INFRA):
        """The endpoints behind a Service."""
        name = f'{service}-1'
        for piece in self.servers.slices:
            if (piece['metadata']['namespace'], piece['metadata']['name']) == (namespace, name):
                return piece['endpoints']
        raise system.Failed(f'no Service {namespace}/{service} with a selector')

    def listening(self, deployment, port):
        """The servers of a Deployment at a port; the name may be the beginning of several."""
        return [s for s in self.servers.srv if s.dep.startswith(deployment) and s.port == port]

    def speak(self, deployment, port, handler):
        """Lets servers answer new connections with another handler of the standard library's kind."""
        for server in self.listening(deployment, port):
            server.RequestHandlerClass = handler

    def replace(self, deployment, port, serve):
        """Puts other servers at their addresses: `serve(address, port, namespace, pod)` returns how to stop one."""
        for server in self.listening(deployment, port):
            server.shutdown()
            server.server_close()
            self.servers.srv.remove(server)
            self.instead.append(serve(*server.server_address, server.ns, server.pod))

    def status(self, kind, name, namespace=INFRA):
        """An object's conditions, by type."""
        found = system.status(self.directory, kind, namespace, name)
        return {condition['type']: condition for condition in found['conditions']}

    def close(self):
        system.down(self.directory)
        # One after the other each would be waited for up to a poll.
        stops = [threading.Thread(target=server.shutdown) for server in self.servers.srv]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()
        for server in self.servers.srv:
            server.server_close()
        for stop in self.instead:
            stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def with_certificate(world):
    """Adds the Secret that the suite makes when it begins and its gateways refer to: for every host, signed by itself."""
    chain, key = f'{world.directory}/certificate', f'{world.directory}/key'
    names = 'subjectAltName=DNS:*,DNS:*.org'
    command = ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
    command += ['-subj', '/CN=conformance', '-addext', names, '-out', chain, '-keyout', key]
    subprocess.run(command, check=True, capture_output=True)
    world.docs.append({
        'apiVersion': 'v1', 'kind': 'Secret', 'type': 'kubernetes.io/tls',
        'metadata': {'name': 'tls-validity-checks-certificate', 'namespace': INFRA},
        'stringData': {'tls.crt': pathlib.Path(chain).read_text(), 'tls.key': pathlib.Path(key).read_text()},
    })


def end_worlds_when_terminated():
    """A terminated run ends as an interrupted one does: whoever has opened a world closes it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('terminated'))


@contextlib.contextmanager
def opened(test, prepare=None):
    """A world with Tidegate running over it. `prepare` changes objects and servers before it starts."""
    world = World(test, prepare)
    try:
        world.apply()
        yield world
    finally:
        world.close()


def eventually(ask, in_a_row=ANSWERS_IN_A_ROW, patience=PATIENCE_SECONDS):
    """Asks until enough answers in a row are as expected: what is wrong, or None. `ask` returns or raises what is."""
    end = time.monotonic() + patience
    good = 0
    while True:
        try:
            wrong = ask()
        except Exception as failure:  # whatever breaks an exchange is an answer here
            wrong = repr(failure)
        good = 0 if wrong else good + 1
        if good == in_a_row:
            return None
        if wrong:
            if time.monotonic() > end:
                return wrong
            time.sleep(0.02)


def http(address, port, expected, mesh=False, ask=replay.request):
    """Asks one case of the suite and compares."""
    return replay.compare(expected, *ask(address, port, expected, mesh), mesh)
