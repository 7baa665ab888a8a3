/* Units with their oracle and their scores, as CSV: what `correlate` writes and reads again, and the oracles of other programs (docs/correlate.md).
 * layer,channel,unit,span,oracle,loss_without and one column per criterion; layer and channel are the unit's first producer, span the number of layers
 * that produce it, loss_without empty where it is not known. Numbers have 17 digits: what is read is what was written. */
#ifndef PRUNE_SCORE_CORRELATION_TABLE_H
#define PRUNE_SCORE_CORRELATION_TABLE_H

#include "../units/units.h"
#include "correlation.h"

struct prune_correlation_unit { int unit, layer, channel, span; };
struct prune_correlation_column { char *name; bool is_signed; double *values; };   /* signed: correlated as squares (criteria.h); values: (rows) */

struct prune_correlation_table {
    struct prune_correlation_unit *rows; size_t row_count;
    double *oracle, *without;            /* (rows) squared loss change; loss without the unit, NaN: not known */
    struct prune_correlation_column *columns; size_t column_count;
};

enum prune_code prune_correlation_table_init(struct prune_correlation_table *t, size_t rows, size_t columns, struct prune_status *st);
void prune_correlation_table_free(struct prune_correlation_table *t);   /* accepts a zeroed one */
/* Rows of the units with picked[u] != 0: everything but oracle and scores. */
void prune_correlation_table_units(struct prune_correlation_table *t, const struct prune_units *units, const unsigned char *picked);

/* "taylor-fo" of "taylor-fo@before-bn": the criterion of a column; NULL: none of ours. Text behind '@' says where gates were. */
struct prune_criterion;
const struct prune_criterion *prune_correlation_criterion(const char *column);

enum prune_code prune_correlation_table_write(const struct prune_correlation_table *t, const char *path, struct prune_status *st);
/* Refuses a file without layer, channel, oracle and a column of scores, a field that is not a finite number, and a row of another length. */
enum prune_code prune_correlation_table_read(struct prune_correlation_table *t, const char *path, struct prune_status *st);
/* The oracle alone, from any CSV with columns layer, channel and oracle (and, perhaps, loss_without): oracle[u] and without[u], NaN where the file says
 * nothing of unit u. A channel that is no producer of a unit is refused. */
enum prune_code prune_correlation_oracle_read(const char *path, const struct prune_units *units, double *oracle, double *without, struct prune_status *st);

#endif
