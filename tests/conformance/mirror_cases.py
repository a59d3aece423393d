"""C-mirror: who gets copies of requests, and how many."""
import time

from shares import REQUESTS, in_rounds, off, send
from world import INFRA, eventually, http, replay

CLASS = 'C-mirror'
GATEWAY = 'same-namespace'
# Copies are sent without waiting for them. When none has arrived for so long, none is on its way any more on one machine.
QUIET_SECONDS = 0.3
ARRIVAL_SECONDS = 5
# Every backend that a copy could reach by mistake.
BACKENDS = ['infra-backend-v1', 'infra-backend-v2', 'infra-backend-v3']


def resolved(value):
    """The expectation with what the extraction left open: the namespace is a variable of the suite, a percentage a pointer."""
    if isinstance(value, dict):
        if value.get('$expr') == 'ns':
            return INFRA
        if value.get('$call') == 'int32':
            return value['args'][0]
        return {key: resolved(each) for key, each in value.items()}
    return [resolved(each) for each in value] if isinstance(value, list) else value


def arrived(path):
    """How many requests to a path each backend has seen. Copies have the path of the original."""
    return {name: replay.LOG.get(f'{INFRA}/{name}', []).count(path) for name in BACKENDS}


def counted(path, ask):
    """Requests that each backend saw while `ask` ran, copies that came later included."""
    before = arrived(path)
    ask()
    end = time.monotonic() + ARRIVAL_SECONDS
    seen, since = arrived(path), time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.01)
        now = arrived(path)
        if now != seen:
            seen, since = now, time.monotonic()
    return {name: seen[name] - before[name] for name in BACKENDS}


def cases(test, world):
    place = world.gateway(GATEWAY), 80
    for i, case in enumerate(test['cases']):
        expected = resolved(case['expect'])
        yield i, eventually(lambda: http(*place, expected)) or in_rounds(lambda: copies(place, expected))


def copies(place, expected):
    """A round: the original goes to its backend alone, each mirror gets its part, and nobody else gets anything."""
    answers = []
    path = expected['Request']['Path']
    seen = counted(path, lambda: answers.extend(send(lambda: http(*place, expected))))
    wrong = next(filter(None, answers), None)
    if wrong:
        return wrong
    mirrors = {m['BackendRef']['Name']: m.get('Percent', 100) / 100 for m in expected['MirroredTo']}
    shares = {name: mirrors.get(name, 0.0) for name in BACKENDS} | {expected['Backend']: 1.0}
    bad = {name: seen[name] for name, share in shares.items() if off(seen[name], share)}
    return f'of {REQUESTS} copies: {bad}, wanted {shares}' if bad else None
