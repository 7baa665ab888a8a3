/* The inner loops in the compiler's own 4-lane vectors (vector.h): SSE2 on any x86-64, NEON on arm64, anything elsewhere. */
#include "vector.h"

#include <string.h>

#ifndef __clang__
#pragma GCC optimize("O3")
#endif

typedef float vf __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
#define LANES 4
#if defined(__aarch64__)
#define ROWS 8
#define TILE 16   /* accumulators */
#define WIDEST 8  /* vectors of a row at most */
#else
#define ROWS 4
#define TILE 8
#define WIDEST 4
#endif
#define TABLE vector_base
#define TABLE_NAME "base"
#define INLINE static inline __attribute__((always_inline))

INLINE vf v_load(const float *p) { vf a; memcpy(&a, p, sizeof a); return a; }
INLINE vf v_load_part(const float *p, size_t n)
{
    vf a = {0, 0, 0, 0};
    for (size_t i = 0; i < n; ++i) a[i] = p[i];
    return a;
}
INLINE void v_store(float *p, vf a) { memcpy(p, &a, sizeof a); }
INLINE void v_store_part(float *p, vf a, size_t n) { for (size_t i = 0; i < n; ++i) p[i] = a[i]; }
INLINE vf v_set(float a) { return (vf){a, a, a, a}; }
INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf v_select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
INLINE vf v_max(vf a, vf b) { return v_select((vi)(a > b), a, b); }
INLINE vf v_min(vf a, vf b) { return v_select((vi)(a < b), a, b); }
INLINE float v_sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
INLINE void v_add_sums(float *g, vf a, vf b, vf c, vf d)   /* g[0..3] += the four sums */
{
    vf s = {v_sum(a), v_sum(b), v_sum(c), v_sum(d)};
    v_store(g, v_load(g) + s);
}
#define TRANSPOSED 4
INLINE void v_transpose(const float *const row[4], size_t p, float *out, size_t width)
{
    for (size_t i = 0; i < 4; ++i) {
        for (size_t k = 0; k < 4; ++k) out[k * width + i] = row[i][p + k];
    }
}
INLINE vf v_positive(vf a, vf yes, vf no) { return v_select((vi)(a > v_set(0)), yes, no); }
INLINE vf v_round(vf a) { vf big = v_set(12582912.f); return (a + big) - big; }   /* for |a| < 2^22 */
INLINE vf v_power2(vf a) { return (vf)((vu)(a + v_set(8388608.f + 127)) << 23); }   /* the sum's low bits are a + 127 */
INLINE vf v_greater(vf a, vf b, vf yes, vf no) { return v_select((vi)(a > b), yes, no); }
INLINE vf v_last(vf a, size_t n)   /* zeros but for the last n lanes */
{
    for (size_t i = 0; i < LANES - n; ++i) a[i] = 0;
    return a;
}
INLINE vf v_even(vf a, vf b) { return (vf){a[0], a[2], b[0], b[2]}; }
INLINE vf v_odd(vf a, vf b) { return (vf){a[1], a[3], b[1], b[3]}; }
INLINE vf v_zip_low(vf a, vf b) { return (vf){a[0], b[0], a[1], b[1]}; }
INLINE vf v_zip_high(vf a, vf b) { return (vf){a[2], b[2], a[3], b[3]}; }
INLINE vf v_keep(vf a) { return a; }

#include "vector_loops.h"
