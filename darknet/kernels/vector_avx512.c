/* The inner loops for AVX-512 (vector.h): 16 lanes, 32 registers: tiles of 8 rows by 3 vectors. */
#include "vector.h"

#if defined(__x86_64__)
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma"))), apply_to = function)
#else
#pragma GCC optimize("O3")
#pragma GCC target("avx512f,avx2,fma")
#endif
#include <immintrin.h>

typedef __m512 vf;
#define LANES 16
#define ROWS 8
#define TILE 24   /* accumulators */
#define WIDEST 8  /* vectors of a row at most */
#define TABLE vector_avx512
#define TABLE_NAME "avx512"
#define INLINE static inline __attribute__((always_inline))

INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE vf v_load_part(const float *p, size_t n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
INLINE void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
INLINE void v_store_part(float *p, vf a, size_t n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a); }
INLINE vf v_set(float a) { return _mm512_set1_ps(a); }
INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE float v_sum(vf a) { return _mm512_reduce_add_ps(a); }
INLINE __m256 v_halves(vf a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1))); }
INLINE void v_add_sums(float *g, vf a, vf b, vf c, vf d)   /* g[0..3] += the four sums */
{
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(v_halves(a), v_halves(b)), _mm256_hadd_ps(v_halves(c), v_halves(d)));
    _mm_storeu_ps(g, _mm_add_ps(_mm_loadu_ps(g), _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1))));
}
#define TRANSPOSED 8
/* Four floats of each of 8 rows at p, as four runs of 8 floats, `width` apart. */
INLINE void v_transpose(const float *const row[8], size_t p, float *out, size_t width)
{
    __m256 a[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) a[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[i] + p)), _mm_loadu_ps(row[i + 4] + p), 1);
    __m256 b = _mm256_unpacklo_ps(a[0], a[1]), c = _mm256_unpackhi_ps(a[0], a[1]);
    __m256 d = _mm256_unpacklo_ps(a[2], a[3]), e = _mm256_unpackhi_ps(a[2], a[3]);
    _mm256_storeu_ps(out, _mm256_shuffle_ps(b, d, 0x44));
    _mm256_storeu_ps(out + width, _mm256_shuffle_ps(b, d, 0xee));
    _mm256_storeu_ps(out + 2 * width, _mm256_shuffle_ps(c, e, 0x44));
    _mm256_storeu_ps(out + 3 * width, _mm256_shuffle_ps(c, e, 0xee));
}
INLINE vf v_positive(vf a, vf yes, vf no) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ), no, yes); }
INLINE vf v_power2(vf a) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtps_epi32(_mm512_add_ps(a, _mm512_set1_ps(127))), 23)); }
INLINE vf v_round(vf a) { return _mm512_roundscale_ps(a, 0); }
INLINE vf v_greater(vf a, vf b, vf yes, vf no) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes); }
INLINE vf v_last(vf a, size_t n) { return _mm512_maskz_mov_ps((__mmask16)~((1u << (16 - n)) - 1), a); }   /* zeros but for the last n lanes */
INLINE vf v_pick(vf a, vf b, int first, int step, int pair)   /* lane k: of a then b (0..31), first + k*step, or pairs (first + k/2, that + pair) */
{
    int at[16];
    for (int k = 0; k < 16; ++k) at[k] = pair ? first + k / 2 + k % 2 * pair : first + k * step;
    return _mm512_permutex2var_ps(a, _mm512_loadu_si512(at), b);
}
INLINE vf v_even(vf a, vf b) { return v_pick(a, b, 0, 2, 0); }
INLINE vf v_odd(vf a, vf b) { return v_pick(a, b, 1, 2, 0); }
INLINE vf v_zip_low(vf a, vf b) { return v_pick(a, b, 0, 0, 16); }
INLINE vf v_zip_high(vf a, vf b) { return v_pick(a, b, 8, 0, 16); }
INLINE vf v_keep(vf a) { __asm__("" : "+v"(a)); return a; }   /* loaded once, not again at each use */

#include "vector_loops.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int vector_avx512_is_for_x86;
#endif
