/* Units: the smallest sets of channels that can be removed and leave a valid network (METHODS: "unit").
 * In: a checked net. Out: for every layer output channel its unit, the members and gate sites of each unit, why a unit is
 * protected, which layers are tied and why, and the balance constraints of grouped convolutions.
 * Rules: convolution and connected produce; pooling, upsample, dropout, crop, activation, batchnorm pass; route concatenates;
 * shortcut unites the first min(c, c_k) channels; a product unites channel i of both factors; a depthwise convolution (groups == c) unites
 * group i with input i; grouped convolutions and routes demand that all parts lose equally many; convolutions that share values share
 * their channels' fate; reorg moves blocks of stride^2 channels; whatever a head, a loss, a normalization over channels, a recurrent layer
 * or the network input fixes is protected. */
#ifndef PRUNE_UNITS_UNITS_H
#define PRUNE_UNITS_UNITS_H

#include <stdint.h>
#include "../host.h"
#include "../model/net_shape.h"

struct prune_channel { int layer, channel; };     /* of the cfg at hand */

/* The reason of units that -protect names; compared by address. */
extern const char PRUNE_PROTECTED_BY_USER[];

struct prune_unit {
    size_t first_member, member_count;            /* producers: prune_units.members, ordered by (layer, channel) */
    size_t first_site, site_count;                /* gates: prune_units.sites (a minimal cut; METHODS, Notation) */
    const char *protected_because;                /* NULL = may be removed; else static or owned text for the user */
};

/* All parts must lose equally many units, or go whole (prune_units_groups): units[p * part_size + j] is the j-th unit of part p. A grouped
 * convolution has two, its inputs and its filters; a grouped route one for each source. Ordered by layer. */
struct prune_balance { int layer; size_t parts, part_size; int *units; };

/* Layers whose channels are united, for inspect: "layer 7 with layer 4: 16 of 32 channels, shortcut at layer 10". */
struct prune_tie { int layer_a, layer_b, channels, at_layer; const char *reason; };

struct prune_units {
    struct prune_unit *items; size_t count;       /* ordered by their first member */
    struct prune_channel *members; size_t member_count;
    struct prune_gate_site *sites; size_t site_count; /* .unit filled */
    int **of_channel;                             /* [layer][out channel] -> unit, or -1: network input */
    struct prune_balance *balances; size_t balance_count;
    struct prune_tie *ties; size_t tie_count;
    size_t layer_count;
    void *owned;                                  /* private storage */
};

enum prune_code prune_units_build(struct prune_units *units, const struct prune_net *net, struct prune_status *st);
void prune_units_free(struct prune_units *units);
/* The user's own protection ("0,81-83"): every unit with a member in these layers is protected. Unknown layer: error. */
enum prune_code prune_units_protect(struct prune_units *units, const struct prune_net *net, const char *ranges, struct prune_status *st);
/* Its two halves: named[layer] = 1 for the layers of the list (the others untouched); the units of one layer. */
enum prune_code prune_units_named(const struct prune_net *net, const char *ranges, uint8_t *named, struct prune_status *st);
void prune_units_protect_layer(struct prune_units *units, const struct prune_net *net, int layer);
/* Protects the units with members in several layers (channels of a residual stream). */
void prune_units_protect_spanning(struct prune_units *units);

/* Units of the output channels that layer reads, in input order: *out is malloc'd, *count = net layer's c (or inputs / map area for
 * connected after a map: one entry per channel, `area` = inputs per channel). Of a shortcut or product: those of its first source.
 * -1 = network input. */
enum prune_code prune_units_of_input(const struct prune_units *units, const struct prune_net *net, int layer, int **out, size_t *count, size_t *area, struct prune_status *st);

/* A convolution whose filters i m ... i m + m - 1 read input i alone (groups == c): it follows its input instead of being balanced. */
bool prune_is_depthwise(const struct prune_layer *l);

/* The groups of a layer (and the slice a route reads) once units are removed. Parts lose equally many channels, or go whole: group p of a
 * convolution with all its inputs and filters, slice p of a route in every source. Anything else is refused, naming two parts. */
enum prune_code prune_units_groups(const struct prune_units *units, const struct prune_net *net, int layer, const uint8_t *removed, int *groups, int *group_id,
                                   struct prune_status *st);

/* Cost of the net with some units removed. removed[u] != 0: gone. Exact for the rewritten shape. */
struct prune_cost { uint64_t macs, parameters; size_t units, channels; };
void prune_units_cost(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, struct prune_cost *out);
/* MACs (and parameters) saved by removing unit u alone at the present shape. */
void prune_units_saving(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, size_t unit, struct prune_cost *out);
/* The same for every unit at once (units->count entries), in time linear in channels. */
enum prune_code prune_units_savings(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, struct prune_cost *savings, struct prune_status *st);

#endif
