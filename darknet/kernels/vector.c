/* Choice of the instruction set at run time (vector.h). */
#include "vector.h"

static const struct vector_ops *forced;

const struct vector_ops *vector_ops_at(int k)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && k-- == 0) return &vector_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && k-- == 0) return &vector_avx2;
#endif
    return k == 0 ? &vector_base : NULL;
}

const struct vector_ops *vector_ops(void)
{
    return forced ? forced : vector_ops_at(0);
}

void vector_ops_force(const struct vector_ops *ops)
{
    forced = ops;
}
