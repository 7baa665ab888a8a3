#!/usr/bin/python3
"""Records correlations that scipy computes, for tests/unit/test_statistics.c: scripts/reference_statistics.py > tests/golden/statistics.txt

Needs Debian's python3-scipy. A case is five lines: its name; n; side a; side b; "pearson spearman kendall" (tau-b), with 17 digits, nan where a side is
constant. Values are drawn with ties of all kinds from a fixed seed; short decimals, so that the file stays small and is read back exactly.
"""
import warnings

import numpy as np
from scipy import stats

warnings.simplefilter('ignore')   # constants: NaN is what is recorded


def cases():
    rng = np.random.default_rng(20190625)
    yield 'two rising', [1, 2], [3, 5]
    yield 'two falling', [1, 2], [5, 3]
    yield 'two, one side constant', [1, 2], [4, 4]
    yield 'three with a tie', [1, 1, 2], [1, 2, 3]
    yield 'both constant', [0.1] * 10, [0.3] * 10
    yield 'one constant, many', [0.1] * 7, list(range(7))
    yield 'all ties but one', [0] * 9 + [1], [5] * 9 + [4]
    yield 'the same ties on both sides', [1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3]
    yield 'ties crosswise', [1, 1, 2, 2, 3, 3], [1, 2, 3, 1, 2, 3]
    yield 'zeros of both signs', [0.0, -0.0, 1, -1], [1, 2, 3, 0]
    yield 'tiny numbers', [1e-200, 2e-200, 5e-200, 3e-200], [1e-160, 3e-160, 4e-160, 2e-160]
    yield 'huge numbers', [1e200, 2e200, 5e200, 3e200], [1e160, 3e160, 4e160, 2e160]
    yield 'a large offset', [1e9 + 1, 1e9 + 2, 1e9 + 4, 1e9 + 3], [1, 2, 3, 5]
    for n in (2, 3, 5, 8, 16, 33, 64, 100, 255, 1000, 2000):
        base = rng.permutation(n)
        yield f'permutation of {n}', np.arange(n), base
        yield f'correlated, {n}', np.round(base + rng.normal(0, n / 4, n), 3), base
        yield f'reversed with noise, {n}', -base, np.round(base + rng.normal(0, n / 8, n), 2)
        for values in (2, 5, 17):
            yield f'{values} values against {n}', rng.integers(0, values, n), base
            yield f'{values} values on both sides, {n}', rng.integers(0, values, n), rng.integers(0, values, n)
        yield f'scores over ten decades with dead units, {n}', np.where(rng.random(n) < .2, 0, [float(f'{x:.3g}') for x in 10 ** rng.uniform(-12, -2, n)]), \
            np.where(rng.random(n) < .1, 0, [float(f'{x:.3g}') for x in 10 ** rng.uniform(-12, -2, n)])


def line(values):
    return ' '.join(repr(int(v)) if float(v).is_integer() and abs(v) < 1e15 and not (v == 0 and np.signbit(float(v))) else repr(float(v)) for v in values)


for name, a, b in cases():
    a, b = np.asarray(a), np.asarray(b)
    fa, fb = a.astype(float), b.astype(float)
    results = stats.pearsonr(fa, fb)[0], stats.spearmanr(fa, fb)[0], stats.kendalltau(fa, fb)[0]
    print(name, len(a), line(a), line(b), ' '.join('nan' if np.isnan(r) else f'{r:.17g}' for r in results), sep='\n')
