"""A rate limit service of somebody else: answers questions by what they say and prints each as a line of JSON.

Messages are taken apart and put together by hand, so that nothing here agrees with our own code about them by accident.
"over" as the value of an entry is over the limit, "silent" is never answered.
"""

import concurrent.futures
import json
import sys
import threading

import grpc

OK, OVER_LIMIT = 1, 2
SECOND = 1


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def content(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def fields(message):
    """(number, value) of each field: whole numbers and contents are all that these messages have."""
    at = 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = read()
        value = read()
        if key & 7 == 2:
            value, at = message[at : at + value], at + value
        elif key & 7 != 0:
            raise ValueError(f"a field of wire type {key & 7}")
        yield key >> 3, value


def entry(message):
    found = {field: value.decode() for field, value in fields(message)}
    return [found.get(1, ""), found.get(2, "")]


def descriptor(message):
    found = {"entries": [], "hits": None}
    for field, value in fields(message):
        if field == 1:
            found["entries"].append(entry(value))
        elif field == 3:
            found["hits"] = dict(fields(value)).get(1, 0)
        else:
            raise ValueError(f"a descriptor with field {field}")
    return found


def question(message):
    found = {"domain": "", "descriptors": [], "hits_addend": 0}
    for field, value in fields(message):
        if field == 1:
            found["domain"] = value.decode()
        elif field == 2:
            found["descriptors"].append(descriptor(value))
        elif field == 3:
            found["hits_addend"] = value
        else:
            raise ValueError(f"a question with field {field}")
    return found


def header(key, value):
    return content(1, key) + content(2, value)


def answer(asked):
    values = [value for one in asked["descriptors"] for _, value in one["entries"]]
    code = OVER_LIMIT if "over" in values else OK
    limit = number(1, 7) + number(2, SECOND)
    status = number(1, code) + content(2, limit) + number(3, 0 if code == OVER_LIMIT else 6) + content(4, number(1, 9))
    statuses = b"".join(content(2, status) for _ in asked["descriptors"])
    return (
        number(1, code) + statuses + content(3, header("x-plan", "free")) + content(4, header("x-counted-by", "somebody"))
    )


def should_rate_limit(request, context):
    asked = question(request)
    print(json.dumps(asked), flush=True)
    if any(value == "silent" for one in asked["descriptors"] for _, value in one["entries"]):
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait()
    return answer(asked)


server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))
handler = grpc.unary_unary_rpc_method_handler(should_rate_limit)
service = "envoy.service.ratelimit.v3.RateLimitService"
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"ShouldRateLimit": handler})])
if server.add_insecure_port(sys.argv[1]) == 0:
    sys.exit(f"cannot listen on {sys.argv[1]}")
server.start()
print("ready", flush=True)
server.wait_for_termination()
