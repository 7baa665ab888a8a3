/* Counter-based random numbers; see random.h. Each value is a bijective 64-bit mixer (splitmix64's finaliser) applied twice to
 * key + counter * odd constant, so value i needs no earlier value. The permutation is a Feistel network on the smallest
 * even number of bits that holds n, walked until it falls below n again (cycle walking): a bijection with O(1) memory. */
#include "random.h"

#include <math.h>

static const uint64_t golden = 0x9e3779b97f4a7c15u;

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

struct prune_random prune_random_make(uint64_t seed, uint64_t stream, uint64_t ordinal)
{
    uint64_t key = mix(seed + golden);
    key = mix(key ^ mix(stream + 2 * golden));
    key = mix(key ^ mix(ordinal + 3 * golden));
    return (struct prune_random){key, 0};
}

uint64_t prune_random_u64(struct prune_random *r)
{
    uint64_t n = ++r->counter;
    return mix(mix(r->key + n * golden) ^ r->key);
}

double prune_random_uniform(struct prune_random *r)
{
    return (double)(prune_random_u64(r) >> 11) * 0x1p-53;
}

double prune_random_range(struct prune_random *r, double lo, double hi)
{
    return lo + (hi - lo) * prune_random_uniform(r);
}

uint64_t prune_random_below(struct prune_random *r, uint64_t n)
{
    if (n < 2) return 0;
    uint64_t reject = (0 - n) % n; /* 2^64 mod n: values below it would favour small results */
    uint64_t x;
    do x = prune_random_u64(r);
    while (x < reject);
    return x % n;
}

double prune_random_normal(struct prune_random *r)
{
    double radius = sqrt(-2 * log(1 - prune_random_uniform(r))); /* 1 - u is in (0, 1] */
    return radius * cos(6.283185307179586476925 * prune_random_uniform(r));
}

uint64_t prune_random_permute(uint64_t seed, uint64_t epoch, uint64_t i, uint64_t n)
{
    enum { ROUNDS = 10 };
    if (n < 2) return 0;
    int half = 1;
    while (half < 32 && (n - 1) >> (2 * half)) half++;
    uint64_t mask = half == 32 ? 0xffffffffu : ((uint64_t)1 << half) - 1;
    uint64_t key = prune_random_make(seed, 0x7065726d75746521u, epoch).key;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 1; round <= ROUNDS; round++) {
            uint64_t next = left ^ (mix(mix(key + round * golden) + right * golden) & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
