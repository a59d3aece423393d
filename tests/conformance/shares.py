"""Whether counts are the shares that weights or percentages promise."""
import math
from concurrent.futures import ThreadPoolExecutor

# As many as the suite sends in a round, and as many at once.
REQUESTS = 500
AT_ONCE = 10
# The suite allows 5 points (2.4 sigma at 70 %) in one of ten rounds, for mirrors one of five. With 3 sigma in one of two a
# right share fails less than once in 100,000 times, and a wrong one has far fewer chances to pass by luck.
SIGMAS = 3
ROUNDS = 2


def send(one):
    """Sends a round: what each exchange gave. The first failure ends it."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda _: one(), range(REQUESTS)))


def off(count, share, of=REQUESTS):
    """Whether a count is not the share of so many; nothing and everything are exact."""
    return abs(count - share * of) > SIGMAS * math.sqrt(of * share * (1 - share))


def wrong_shares(counts, wanted):
    """What is wrong with the counts of each name; a name that nobody wants must not be there."""
    strangers = sorted(set(counts) - set(wanted))
    if strangers:
        return f'answered by {strangers}'
    bad = {name: counts.get(name, 0) for name, share in wanted.items() if off(counts.get(name, 0), share)}
    return f'of {REQUESTS}: {bad}, wanted {wanted}' if bad else None


def in_rounds(one_round):
    """The last round's complaint, if no round is as promised."""
    wrong = None
    for _ in range(ROUNDS):
        wrong = one_round()
        if not wrong:
            return None
    return wrong
