/* The inner loops for AVX2 with FMA (vector.h): 8 lanes, 16 registers: tiles of 4 rows by 3 vectors. */
#include "vector.h"

#if defined(__x86_64__)
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC optimize("O3")
#pragma GCC target("avx2,fma")
#endif
#include <immintrin.h>
#include <string.h>

typedef __m256 vf;
#define LANES 8
#define ROWS 4
#define TILE 12   /* accumulators */
#define WIDEST 8  /* vectors of a row at most */
#define TABLE vector_avx2
#define TABLE_NAME "avx2"
#define INLINE static inline __attribute__((always_inline))

INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE __m256i v_first(size_t n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
INLINE vf v_load_part(const float *p, size_t n) { return _mm256_maskload_ps(p, v_first(n)); }
INLINE void v_store_part(float *p, vf a, size_t n) { _mm256_maskstore_ps(p, v_first(n), a); }
INLINE void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
INLINE vf v_set(float a) { return _mm256_set1_ps(a); }
INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE float v_sum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
INLINE void v_add_sums(float *g, vf a, vf b, vf c, vf d)   /* g[0..3] += the four sums */
{
    vf s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
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
INLINE vf v_positive(vf a, vf yes, vf no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ)); }
INLINE vf v_power2(vf a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtps_epi32(_mm256_add_ps(a, _mm256_set1_ps(127))), 23)); }
INLINE vf v_round(vf a) { return _mm256_round_ps(a, 0); }
INLINE vf v_greater(vf a, vf b, vf yes, vf no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
INLINE vf v_last(vf a, size_t n)   /* zeros but for the last n lanes */
{
    __m256i gone = _mm256_cmpgt_epi32(_mm256_set1_epi32(8 - (int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_andnot_ps(_mm256_castsi256_ps(gone), a);
}
INLINE vf v_pairs(vf a) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8)); }
INLINE vf v_even(vf a, vf b) { return v_pairs(_mm256_shuffle_ps(a, b, 0x88)); }
INLINE vf v_odd(vf a, vf b) { return v_pairs(_mm256_shuffle_ps(a, b, 0xdd)); }
INLINE vf v_zip_low(vf a, vf b) { return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20); }
INLINE vf v_zip_high(vf a, vf b) { return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31); }
INLINE vf v_keep(vf a) { __asm__("" : "+x"(a)); return a; }   /* loaded once, not again at each use */

#include "vector_loops.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int vector_avx2_is_for_x86;
#endif
