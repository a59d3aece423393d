"""Tidegate as the system under test: a control plane, a proxy for every gateway, a sidecar for every client of the mesh.

What an environment with Kubernetes would do for a mesh is done here and nothing else: every Gateway gets an address
(127.20.x.y) and a proxy process, and in each namespace of the mesh that has clients a workload with a sidecar stands for
them. The files of the directory are passed on as they are, apart from the name of the gateway class. Binaries come from
$TIDEGATE_BIN, else from target/demo.
"""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import yaml

# The parser in C, where PyYAML has it: the suite's manifests are read some four hundred times in a run.
LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
BIN = pathlib.Path(os.environ.get('TIDEGATE_BIN') or pathlib.Path(__file__).resolve().parents[2] / 'target/demo')
CLASS = 'tidegate'
XDS, API = '127.30.0.1:15010', '127.30.0.1:15014'
# Clients of the mesh: those beside the suite's services, and those of a consumer's namespace.
CLIENTS = {'gateway-conformance-mesh': '127.30.0.2', 'gateway-conformance-mesh-consumer': '127.30.0.3'}
OUTBOUND_PORT = 15001
READY_SECONDS = 30
STOP_SECONDS = 5


class Failed(Exception):
    """The system did not do what was asked; says what and shows its logs."""


def home(directory):
    """Where the state of one run is kept; found again by the directory's name."""
    digest = hashlib.sha256(os.path.realpath(directory).encode()).hexdigest()[:16]
    return pathlib.Path(tempfile.gettempdir()) / f'tidegate-conformance-{digest}'


def objects(directory):
    for file in sorted(pathlib.Path(directory).glob('*.yaml')):
        for document in yaml.load_all(file.read_text(), LOADER):
            if isinstance(document, dict) and document.get('kind'):
                yield document


def gateways(documents):
    """Gateways in the order of the files, each with an address of its own."""
    names = []
    for document in documents:
        if document['kind'] == 'Gateway' and document['apiVersion'].startswith('gateway.networking.k8s.io/'):
            meta = document['metadata']
            name = f"{meta.get('namespace', 'default')}/{meta['name']}"
            if name not in names:
                names.append(name)
    return {name: f'127.20.{i // 250}.{i % 250 + 1}' for i, name in enumerate(names)}


def client(namespace, address):
    """The workload whose sidecar stands for the clients of a namespace."""
    return {
        'apiVersion': 'tidegate.io/v1alpha1', 'kind': 'Workload',
        'metadata': {'name': 'conformance-client', 'namespace': namespace, 'labels': {'app': 'conformance-client'}},
        'spec': {'address': address, 'sidecar': {'outbound': f'{address}:{OUTBOUND_PORT}'}},
    }


def write(directory, config, clients):
    """Copies the files; a file is renamed into place, so that the control plane never reads half of one."""
    wanted = {f.name: f.read_text().replace('{GATEWAY_CLASS_NAME}', CLASS) for f in sorted(pathlib.Path(directory).glob('*.yaml'))}
    if clients:
        wanted['zz-clients.yaml'] = yaml.safe_dump_all([client(*each) for each in clients.items()])
    for name, text in wanted.items():
        (config / f'.{name}.new').write_text(text)
        (config / f'.{name}.new').rename(config / name)
    for file in config.glob('*.yaml'):
        if file.name not in wanted:
            file.unlink()


def must_be_free(address):
    """What an interrupted run left behind would be asked in place of what is started now."""
    host, port = address.split(':')
    with socket.socket() as probe:
        if probe.connect_ex((host, int(port))) == 0:
            raise Failed(f'somebody listens on {address} already: end what an earlier run has left')


def start(name, state, arguments):
    """Starts a process that outlives this one; its id and its log are kept."""
    pid = state / f'{name}.pid'
    if pid.exists() and alive(int(pid.read_text())):
        return
    with open(state / f'{name}.log', 'ab') as log:
        process = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    pid.write_text(str(process.pid))


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as stat:
            return stat.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


def fetch(path):
    with urllib.request.urlopen(f'http://{API}{path}', timeout=2) as answer:
        return answer.read()


def ask(path):
    return json.loads(fetch(path))


def settled(count):
    status = ask('/api/v1/status')
    held = [p for p in status['proxies'] if p['settled_generation'] == status['generation']]
    return status['generation'] >= 1 and len(held) >= count


def wait(what, condition, state):
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.02)
    logs = '\n'.join(f'--- {log.name}\n{log.read_text()[-3000:]}' for log in sorted(state.glob('*.log')))
    raise Failed(f'{what}: not within {READY_SECONDS} s\n{logs}')


def up(directory):
    """Starts what does not run yet and waits until every proxy holds the configuration."""
    state = home(directory)
    config = state / 'config'
    config.mkdir(parents=True, exist_ok=True)
    documents = list(objects(directory))
    addresses = gateways(documents)
    namespaces = {d['metadata']['name'] for d in documents if d['kind'] == 'Namespace'}
    clients = {namespace: address for namespace, address in CLIENTS.items() if namespace in namespaces}
    write(directory, config, clients)
    if not (state / 'control.pid').exists():
        must_be_free(XDS)
    start('control', state, [BIN / 'tidegate', 'serve', '--config', config, '--state', state / 'control', '--xds', XDS, '--api', API])
    wait('the control plane is ready', lambda: fetch('/ready'), state)
    proxies = {f'router~{ip}~{name.split("/")[1]}.{name.split("/")[0]}~local': ip for name, ip in addresses.items()}
    proxies |= {f'conformance-client.{namespace}': address for namespace, address in clients.items()}
    for i, (node, name) in enumerate(proxies.items()):
        start(name, state, [BIN / 'tidegate-proxy', '--xds', XDS, '--node', node, '--admin', f'127.30.1.{i + 1}:15000', '--concurrency', '1', '--drain-seconds', '0'])
    wait('every proxy holds the configuration', lambda: settled(len(proxies)), state)
    outbound = {namespace: f'{address}:{OUTBOUND_PORT}' for namespace, address in CLIENTS.items()}
    return {'gateways': addresses, 'mesh': outbound['gateway-conformance-mesh'], 'clients': outbound}


def down(directory):
    state = home(directory)
    pids = [int(f.read_text()) for f in state.glob('*.pid')]
    for pid in pids:
        signal_process(pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while any(alive(pid) for pid in pids):
        if time.monotonic() > end:
            for pid in pids:
                signal_process(pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    shutil.rmtree(state, ignore_errors=True)


def signal_process(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def status(directory, kind, namespace, name):
    for found in ask('/api/v1/status').get('objects', []):
        if (found['kind'], found['namespace'], found['name']) == (kind, namespace, name):
            return found.get('status', found)
    raise Failed(f'no status of {kind} {namespace}/{name}')
