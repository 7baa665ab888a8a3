/* Balance: which units have to leave together so that every part of a grouped convolution loses equally many.
 * Units that stand in the same parts of the same constraints form a cell; cells that share constraints form a component. The recipe says
 * how many units of each cell make one bundle: the smallest set of removals that keeps every constraint of its component. */
#ifndef PRUNE_UNITS_BALANCE_H
#define PRUNE_UNITS_BALANCE_H

#include "units.h"

struct prune_cells {
    int *cell_of_unit;                   /* -1: the unit stands in no constraint */
    size_t cell_count;
    int *component_of_cell;
    int *recipe;                         /* units of the cell per bundle, >= 1; 0: the component cannot be paired */
    size_t component_count;
};

/* usable[u] == 0: the unit stays whatever happens (NULL: all may go). */
enum prune_code prune_cells_build(struct prune_cells *cells, const struct prune_units *units, const uint8_t *usable, struct prune_status *st);
void prune_cells_free(struct prune_cells *cells);

#endif
