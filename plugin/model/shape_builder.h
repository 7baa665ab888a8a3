/* Private to plugin/model: what net_shape.c (the walk over sections) and the shape functions (one per kind, shapes.h) share.
 * A shape function gets a layer whose index, section, kind, input and common keys are filled, and fills the output side, the
 * sources where they are not {previous}, parameters and macs. It checks all it reads: nothing the host could trip over gets through. */
#ifndef PRUNE_MODEL_SHAPE_BUILDER_H
#define PRUNE_MODEL_SHAPE_BUILDER_H

#include "net_shape.h"

struct shape_builder {
    struct prune_net *net;               /* layers[0 .. layer_count) are done */
    const struct prune_cfg *cfg;
    const struct prune_section *section; /* of the layer at hand */
    unsigned char *is_map;               /* per layer: the host knows its output as w x h x c (else a flat vector) */
    bool input_is_map;                   /* input of the layer at hand */
    bool output_is_map;                  /* set by the shape function; true on entry */
    bool too_much_work;                  /* a layer's MACs do not fit 64 bits */
    int own_line; char own[64];          /* first thing that pjreddie's Darknet alone knows; line 0: none (the others': net->foreign) */
    struct prune_status *st;
};

/* Message "cannot use 'file:line': <text>". key NULL or missing: the line of the section. */
enum prune_code shape_fail(const struct shape_builder *b, const char *key, const char *format, ...) PRUNE_PRINTF(3, 4);
/* An integer key within [lo, hi], else a failure that names file:line, key and bound. */
enum prune_code shape_int(const struct shape_builder *b, const char *key, int fallback, int lo, int hi, int *out);
/* Comma-separated positive finite numbers; counts, *count = 0 without the key. */
enum prune_code shape_float_list(const struct shape_builder *b, const char *key, size_t *count);
/* Fills out_w, out_h, out_c, outputs; refuses sizes beyond int. */
enum prune_code shape_output(const struct shape_builder *b, struct prune_layer *l, int64_t w, int64_t h, int64_t c);
/* Takes down which Darknets know the option (NULL: the section at hand); fails when none is left that knows all so far. */
enum prune_code shape_dialect(struct shape_builder *b, const struct prune_option *o, int dialects);
/* The function of PRUNE_KIND l->kind. */
enum prune_code shape_layer(struct shape_builder *b, struct prune_layer *l);

#endif
