/* Arithmetic of sizes and counts that the planners share. */
#ifndef DARKNET_KERNELS_WHOLE_NUMBERS_H
#define DARKNET_KERNELS_WHOLE_NUMBERS_H

static inline int at_least(int a, int b) { return a > b ? a : b; }
static inline int at_most(int a, int b) { return a < b ? a : b; }
static inline int ceiling(int a, int b) { return (a + b - 1) / b; }

#endif
