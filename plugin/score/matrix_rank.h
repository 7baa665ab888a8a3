/* The numerical rank of a small matrix of float32 values: how many singular values are above max(h, w) 2^-23 of the largest, the usual tolerance. */
#ifndef PRUNE_SCORE_MATRIX_RANK_H
#define PRUNE_SCORE_MATRIX_RANK_H

#include <stddef.h>

/* Scratch memory of one thread for matrices of up to `area` values and sides up to `side`; NULL: no memory. */
struct prune_rank_room;
struct prune_rank_room *prune_rank_room_make(size_t area, size_t side);
void prune_rank_room_free(struct prune_rank_room *room);

/* Value (y, x) is at values[y * step_y + x * step_x]. NaN: a value is not finite, or the singular values did not converge. */
double prune_matrix_rank(const float *values, size_t h, size_t w, ptrdiff_t step_y, ptrdiff_t step_x, struct prune_rank_room *room);

#endif
