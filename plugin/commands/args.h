/* Arguments in Darknet's manner: positionals in order, flags are single-dash words anywhere ("-macs 0.5", "-json", "-masked 1").
 * A verb declares its flags; unknown flags, missing values and bad numbers are usage errors that name the flag. */
#ifndef PRUNE_COMMANDS_ARGS_H
#define PRUNE_COMMANDS_ARGS_H

#include <stdbool.h>
#include <stdint.h>
#include "../base/status.h"

struct prune_flag { const char *name; bool takes_value; };       /* name without dash; list ends with {0} */
enum { PRUNE_FLAG_ROOM = 48 };
struct prune_args { const char *positional[8]; int count; const struct prune_flag *flags; const char *values[PRUNE_FLAG_ROOM]; };

enum prune_code prune_args_parse(struct prune_args *a, int argc, char **argv, const struct prune_flag *flags, int min_positional, int max_positional, struct prune_status *st);
bool prune_args_has(const struct prune_args *a, const char *flag);
const char *prune_args_string(const struct prune_args *a, const char *flag, const char *fallback);
enum prune_code prune_args_int(const struct prune_args *a, const char *flag, long lo, long hi, long fallback, long *out, struct prune_status *st);
enum prune_code prune_args_double(const struct prune_args *a, const char *flag, double lo, double hi, double fallback, double *out, struct prune_status *st);
/* Bytes, at least 1: "800M", "2G", "1.5g", "65536"; K, M and G are powers of 1024. */
enum prune_code prune_args_size(const struct prune_args *a, const char *flag, size_t fallback, size_t *out, struct prune_status *st);

#endif
