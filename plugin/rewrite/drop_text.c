/* The cfg text without dropped blocks; see drop.h and docs/blocks.md. Three kinds of edits, all else stays byte for byte:
 *   a section that goes takes its header, its options, and the blank and comment lines above its header with it; comment lines right below the options
 *   of a section (up to a blank line) belong to that section, so the ones above the block stay and the ones inside it go;
 *   a [shortcut] whose activation must stay becomes an [activation]: its name changes, and its other options go;
 *   layer numbers that cross a dropped block are rewritten in the form they had: -k stays relative, n absolute. */
#include "drop.h"

#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"

/* Options that hold layer numbers. */
static const struct { enum prune_kind kind; const char *key; } REFERENCES[] = {
    { PRUNE_ROUTE, "layers" }, { PRUNE_SHORTCUT, "from" }, { PRUNE_SHORTCUT, "layers" }, { PRUNE_SCALE_CHANNELS, "from" }, { PRUNE_SAM, "from" },
    { PRUNE_CONVOLUTIONAL, "share_index" }, { PRUNE_YOLO, "embedding_layer" }, { PRUNE_CONTRASTIVE, "yolo_layer" } };

static bool is_blank_line(const struct prune_cfg *cfg, size_t begin, size_t end)
{
    while (begin < end && strchr(" \t\r\n", cfg->bytes[begin])) begin++;
    return begin == end;
}

static size_t line_end(const struct prune_cfg *cfg, size_t begin)
{
    const char *newline = memchr(cfg->bytes + begin, '\n', cfg->size - begin);
    return newline ? (size_t)(newline - cfg->bytes) + 1 : cfg->size;
}

/* Behind the section's last option and the comments right below it, unless those stand right above the next header. */
static size_t own_end(const struct prune_cfg *cfg, const struct prune_section *s)
{
    size_t options = s->option_count ? s->options[s->option_count - 1].line_span.end : s->header_span.end, at = options;
    while (at < s->span.end) {
        size_t next = line_end(cfg, at);
        if (is_blank_line(cfg, at, next)) return at;
        at = next;
    }
    return s->span.end == cfg->size ? at : options;
}

static enum prune_code remove_section(struct prune_edit_list *edits, const struct prune_cfg *cfg, size_t section, struct prune_status *st)
{
    struct prune_span span = { own_end(cfg, &cfg->sections[section - 1]), own_end(cfg, &cfg->sections[section]) };
    return prune_edit_add(edits, span, "", st);
}

/* [shortcut] from=-3 activation=relu -> [activation] activation=relu */
static enum prune_code become_activation(struct prune_edit_list *edits, const struct prune_cfg *cfg, const struct prune_section *s, struct prune_status *st)
{
    const char *header = cfg->bytes + s->header_span.begin;
    size_t size = s->header_span.end - s->header_span.begin;
    const char *open = memchr(header, '[', size), *close = memchr(header, ']', size);
    struct prune_span name = { (size_t)(open + 1 - cfg->bytes), (size_t)(close - cfg->bytes) };
    enum prune_code rc = prune_edit_add(edits, name, prune_kind_info(PRUNE_ACTIVATION)->name, st);
    for (size_t i = 0; !rc && i < s->option_count; i++) {
        const char *key = s->options[i].key;
        if (strcmp(key, "activation") && !prune_key_is_common(key)) rc = prune_edit_add(edits, s->options[i].line_span, "", st);
    }
    return rc;
}

/* The layer of the smaller network that stands where `layer` stood: for a shortcut that went, what it was added to. -1: gone. */
static int now_at(const struct prune_dropped *d, int layer)
{
    for (size_t i = d->count; i-- > 0;)
        if (d->blocks[i].shortcut == layer && d->new_of[layer] < 0) layer = d->blocks[i].from;
    return d->new_of[layer];
}

/* One number of a list of layer numbers; the edit, if there is one, replaces it in place. */
static enum prune_code move_number(struct prune_edit_list *edits, const struct prune_dropped *d, const struct prune_layer *l, struct prune_span span, struct prune_status *st)
{
    const char *bytes = d->whole->cfg->bytes;
    char digits[24];
    size_t n = 0;
    while (span.begin < span.end && strchr(" \t", bytes[span.begin])) span.begin++;
    while (span.end > span.begin && strchr(" \t", bytes[span.end - 1])) span.end--;
    for (size_t i = span.begin; i < span.end && n + 1 < sizeof digits; i++)
        if (!strchr(" \t", bytes[i])) digits[n++] = bytes[i];
    digits[n] = 0;
    long value = strtol(digits, NULL, 10), target = value < 0 ? l->index + value : value;
    if (!n || target < 0 || (size_t)target >= d->whole->layer_count) return PRUNE_OK;     /* no layer: "none" in its key's language */
    int at = now_at(d, (int)target), here = d->new_of[l->index];
    if (at < 0 && l->share >= 0) at = now_at(d, l->share);       /* it shared through a convolution that goes */
    if (at < 0) return prune_fail(st, "layer %d reads layer %ld, which goes with its block", l->index, target);
    long moved = value < 0 ? at - here : at;
    if (moved == value) return PRUNE_OK;
    char *text = prune_format("%ld", moved);
    if (!text) return prune_fail_memory(st, 24, "a layer number");
    enum prune_code rc = prune_edit_add(edits, span, text, st);
    free(text);
    return rc;
}

static enum prune_code move_numbers(struct prune_edit_list *edits, const struct prune_dropped *d, const struct prune_layer *l, struct prune_status *st)
{
    const struct prune_cfg *cfg = d->whole->cfg;
    enum prune_code rc = PRUNE_OK;
    for (size_t k = 0; k < sizeof REFERENCES / sizeof *REFERENCES; k++) {
        if (REFERENCES[k].kind != l->kind) continue;
        const struct prune_option *o = prune_cfg_find(&cfg->sections[l->section], REFERENCES[k].key);
        for (size_t at = o ? o->value_span.begin : 0; o && !rc && at < o->value_span.end;) {
            const char *comma = memchr(cfg->bytes + at, ',', o->value_span.end - at);
            size_t end = comma ? (size_t)(comma - cfg->bytes) : o->value_span.end;
            rc = move_number(edits, d, l, (struct prune_span){ at, end }, st);
            at = end + 1;
        }
    }
    return rc;
}

static bool closes_a_block(const struct prune_dropped *d, int layer)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->blocks[i].shortcut == layer) return true;
    return false;
}

enum prune_code prune_drop_text(const struct prune_dropped *d, char **bytes, size_t *size, struct prune_status *st)
{
    struct prune_edit_list edits = { 0 };
    const struct prune_cfg *cfg = d->whole->cfg;
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < d->whole->layer_count; i++) {
        const struct prune_layer *l = &d->whole->layers[i];
        if (d->new_of[i] < 0) {
            rc = remove_section(&edits, cfg, l->section, st);
            if (!rc && l->gate_section >= 0) rc = remove_section(&edits, cfg, (size_t)l->gate_section, st);
        } else if (closes_a_block(d, l->index)) {
            rc = become_activation(&edits, cfg, &cfg->sections[l->section], st);
        } else {
            rc = move_numbers(&edits, d, l, st);
        }
    }
    if (!rc) rc = prune_edit_apply(cfg, &edits, bytes, size, st);
    prune_edit_free(&edits);
    return rc;
}
