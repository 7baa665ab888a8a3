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
INLINE vf v_positive(vf a, vf yes, vf no) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ), no, yes); }
INLINE vf v_power2(vf a) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtps_epi32(_mm512_add_ps(a, _mm512_set1_ps(127))), 23)); }
INLINE vf v_round(vf a) { return _mm512_roundscale_ps(a, 0); }
INLINE vf v_keep(vf a) { __asm__("" : "+v"(a)); return a; }   /* loaded once, not again at each use */

#include "vector_loops.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int vector_avx512_is_for_x86;
#endif
